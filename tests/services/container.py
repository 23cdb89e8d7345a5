"""A container under test: images are asked for and compared, then SIGTERM comes while many are asked for.

    python -m tests.services.container URL PID LOG

PID is the process that gets the signal, LOG the container's output, with GANMINT_ACCESS_LOG=1. Used by
deploy/smoke-container.sh, which builds and starts the container.
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

from tests.services.wire import answer, request

CALLERS, BEFORE_SIGTERM = 32, 300
GONE_WITHIN_S = 60


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
        for index in range(10):
            image = httpx.get(f"{url}/v1/images/digits/1.0.0/7/{index}.png?label={index}", timeout=30)
            image.raise_for_status()
            mine = (folder / f"digits_1.0.0_7_{index}.png").read_bytes()
            assert image.content == mine, f"image {index} differs from the command line's"
    return 11


async def _caller(where: httpx.URL, k: int, whole: list[int], broken: list[bytes]) -> None:
    """Ask until the connection is closed; an answer that breaks off is kept."""
    reader, writer = await asyncio.open_connection(where.host, where.port)
    accept, n = (("image/png", 1), ("application/json", 8))[k % 2]
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(request(b'{"model": "digits", "seed": %d, "n": %d}' % (len(whole), n), Accept=accept))
            try:
                status, _, _ = await answer(reader)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    broken.append(error.partial)
                break
            whole.append(status)
    writer.close()


async def sigterm_under_load(url: str, pid: int) -> tuple[list[int], list[bytes]]:
    """The statuses of whole answers, and the answers that broke off."""
    whole: list[int] = []
    broken: list[bytes] = []
    callers = [asyncio.create_task(_caller(httpx.URL(url), k, whole, broken)) for k in range(CALLERS)]
    while len(whole) < BEFORE_SIGTERM:
        await asyncio.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    await asyncio.gather(*callers)
    return whole, broken


def accepted(log: str) -> list[int]:
    """The statuses of the requests that the service's access log names."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line["status"] for line in lines if line["path"] == "/generate"]


def main(url: str, pid: int, log: Path) -> None:
    """Raises: AssertionError saying what is wrong."""
    print(f"{compare_images(url)} images are byte for byte those of `ganmint sample`")
    before = len(accepted(log.read_text()))
    began = time.monotonic()
    whole, broken = asyncio.run(sigterm_under_load(url, pid))
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() - began < GONE_WITHIN_S, f"it still runs {GONE_WITHIN_S} s after SIGTERM"
        time.sleep(0.05)
    served = accepted(log.read_text())[before:]
    print(f"SIGTERM under load: {len(served)} accepted, {len(whole)} answered whole, {len(broken)} broken off")
    assert not broken, "answers broke off"
    assert set(whole) == {200}, f"statuses {sorted(set(whole))}"
    assert served == [200] * len(whole), f"{len(served) - len(whole)} accepted requests were not answered"
    assert "Traceback" not in log.read_text(), "the log has a traceback"


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    except AssertionError as error:
        sys.exit(f"container: {error}")
