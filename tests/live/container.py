"""A container under test: images are asked for and compared, then SIGTERM comes while many are asked for.

    python -m tests.live.container URL PID LOG

PID is the process that gets the signal, LOG the container's output; GANMINT_DRAIN_PAUSE_S must give the callers
time to see that it is not ready. Used by deploy/smoke-container.sh, which builds and starts the container.
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

from tests.live.wire import answer, request

CALLERS, BEFORE_SIGTERM = 32, 300
# Seconds of work, and less than the queue takes.
LARGE, LARGE_CALLERS = 512, 6
GONE_WITHIN_S = 90


def compare_images(url: str) -> int:
    """How many images are, byte for byte, those of the command line here."""
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        where = ["digits", "--seed", "7", "--labels", "balanced"]
        for out in (folder, folder / "grid.png"):
            command = [sys.executable, "-m", "ganmint", "sample", *where, "--count", "10", "--out", str(out)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        body = {"model": "digits", "seed": 7, "n": 10, "labels": "balanced"}
        grid = httpx.post(url + "/generate", json=body, headers={"Accept": "image/png"}, timeout=30).raise_for_status()
        assert grid.content == (folder / "grid.png").read_bytes(), "the grid differs from the command line's"
        version = httpx.get(url + "/v1/models/digits", timeout=30).raise_for_status().json()["version"]
        for index in range(10):
            image = httpx.get(f"{url}/v1/images/digits/{version}/7/{index}.png?label={index}", timeout=30)
            image.raise_for_status()
            mine = (folder / f"digits_{version}_7_{index}.png").read_bytes()
            assert image.content == mine, f"image {index} differs from the command line's"
    return 11


class Load:
    """Callers behind a load balancer: new requests only while /readyz is 200. Each has a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._ready = True
        self.answered = 0
        self.lost: list[str] = []

    async def _ask(self, n: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(self._url.host, self._url.port)
            body = b'{"model": "digits", "seed": %d, "n": %d}' % (self.answered, n)
            writer.write(request(body, Accept="application/json", Connection="close"))
            status, _, content = await answer(reader)
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            self.lost.append(f"n = {n}: {error!r}")
            return
        if status == 200 and len(json.loads(content)["images"]) == n:
            self.answered += 1
        else:
            self.lost.append(f"n = {n}: {status}")

    async def _caller(self) -> None:
        while self._ready:
            await self._ask(4)

    async def _balancer(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient() as client:
                while (await client.get(self._url.join("/readyz"))).status_code == 200:
                    await asyncio.sleep(0.05)
        self._ready = False

    async def until_stopped(self, pid: int) -> None:
        """SIGTERM in the midst of it; what is asked last is still being made when the server stops listening."""
        callers = [asyncio.create_task(self._caller()) for _ in range(CALLERS)]
        while self.answered < BEFORE_SIGTERM:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGTERM)
        await asyncio.gather(self._balancer(), *(self._ask(LARGE) for _ in range(LARGE_CALLERS)))
        await asyncio.gather(*callers)


def main(url: str, pid: int, log: Path) -> None:
    """Raises: AssertionError saying what is wrong."""
    print(f"{compare_images(url)} images are byte for byte those of `ganmint sample`")
    load, began = Load(url), time.monotonic()
    asyncio.run(load.until_stopped(pid))
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() - began < GONE_WITHIN_S, f"it still runs after {GONE_WITHIN_S} s"
        time.sleep(0.05)
    print(f"SIGTERM under load: {load.answered} requests answered whole, {len(load.lost)} lost")
    assert not load.lost, f"requests were lost: {'; '.join(load.lost[:3])}"
    assert "Traceback" not in log.read_text(), "the log has a traceback"


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    except AssertionError as error:
        sys.exit(f"container: {error}")
