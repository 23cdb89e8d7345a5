"""Checks a running container: compares its images with the command line's, then stops it under load.

    python -m deploy.check_container URL PID LOG

PID is the process that gets SIGTERM, LOG the container's output. GANMINT_DRAIN_PAUSE_S must give the clients time to
notice that it is not ready. Used by deploy/smoke-container.sh, which builds and starts the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.live.wire import encode_request, read_response

NUM_CLIENTS = 32
RESPONSES_BEFORE_SIGTERM = 300
# Requests that take seconds and still fit the queue.
LARGE_N = 512
NUM_LARGE = 6
EXIT_TIMEOUT_S = 90


def compare_images(url: str) -> int:
    """Check that images are byte for byte those of the command line here; returns how many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["digits", "--seed", "7", "--labels", "balanced"]
        for out in (folder, folder / "grid.png"):
            command = [sys.executable, "-m", "ganmint", "sample", *options, "--count", "10", "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        body = {"model": "digits", "seed": 7, "n": 10, "labels": "balanced"}
        grid = httpx.post(url + "/generate", json=body, headers={"Accept": "image/png"}, timeout=30).raise_for_status()
        assert grid.content == (folder / "grid.png").read_bytes(), "the grid differs from the command line's"
        version = httpx.get(url + "/v1/models/digits", timeout=30).raise_for_status().json()["version"]
        for index in range(10):
            image = httpx.get(f"{url}/v1/images/digits/{version}/7/{index}.png?label={index}", timeout=30)
            image.raise_for_status()
            expected = (folder / f"digits_{version}_7_{index}_label={index}.png").read_bytes()
            assert image.content == expected, f"image {index} differs from the command line's"
    return 11


class Load:
    """Clients behind a load balancer: they send requests while /readyz is 200, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._is_ready = True
        self.num_complete = 0
        self.lost: list[str] = []

    async def _send_request(self, n: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(self._url.host, self._url.port)
            body = b'{"model": "digits", "seed": %d, "n": %d}' % (self.num_complete, n)
            writer.write(encode_request(body, Accept="application/json", Connection="close"))
            response = await read_response(reader)
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"n = {n}: {error!r}")
            return
        if response.status == 200 and len(json.loads(response.body)["images"]) == n:
            self.num_complete += 1
        else:
            self.lost.append(f"n = {n}: {response.status}")

    async def _run_client(self) -> None:
        while self._is_ready:
            await self._send_request(4)

    async def _poll_readiness(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                while (await client.get(self._url.join("/readyz"))).status_code == 200:
                    await asyncio.sleep(0.05)
        self._is_ready = False

    async def run_until_stopped(self, pid: int) -> None:
        """Send SIGTERM under load; the last requests are still in progress when the server stops listening."""
        clients = [asyncio.create_task(self._run_client()) for _ in range(NUM_CLIENTS)]
        while self.num_complete < RESPONSES_BEFORE_SIGTERM:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGTERM)
        await asyncio.gather(self._poll_readiness(), *(self._send_request(LARGE_N) for _ in range(NUM_LARGE)))
        await asyncio.gather(*clients)


def main(url: str, pid: int, log: Path) -> None:
    """Run both checks.

    Raises:
        AssertionError: says what is wrong.
    """
    print(f"{compare_images(url)} images are byte for byte those of `ganmint sample`")
    load = Load(url)
    started_at = time.monotonic()
    asyncio.run(load.run_until_stopped(pid))
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() - started_at < EXIT_TIMEOUT_S, f"it still runs after {EXIT_TIMEOUT_S} s"
        time.sleep(0.05)
    print(f"SIGTERM under load: {load.num_complete} requests complete, {len(load.lost)} lost")
    assert not load.lost, f"requests were lost: {'; '.join(load.lost[:3])}"
    assert "Traceback" not in log.read_text(), "the log has a traceback"


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    except AssertionError as error:
        sys.exit(f"container: {error}")
