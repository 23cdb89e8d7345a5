"""Make shards in worker processes on this machine, each with its own copy of the model.

Each worker has a pipe of its own: shards go in, reports come out. Nothing is shared between workers, so one that is
killed at any moment blocks no other. Workers end with their parent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import cast

from models import artifact
from models.errors import ExportError, GanmintError
from service.export import interrupts, worker
from service.export.plan import Shard
from service.export.progress import ExportProgressBar
from service.export.run import Engine, ExportRequest, one_thread, read_model
from service.export.target import Target

# A terminated worker discards its draft; after this long it is killed.
DISCARD_TIMEOUT_S = 5.0

# What a worker reports: images and bytes that it wrote, None for a committed shard, or why it failed.
Report = tuple[int, int] | BaseException | None


def in_processes(workers: int) -> Engine:
    """Return an engine of at most this many worker processes, each taking the next shard when it has made one."""

    def engine(request: ExportRequest, shards: Sequence[Shard], progress: ExportProgressBar) -> None:
        waiting = list(reversed(shards))
        processes: dict[Connection, SpawnProcess] = {}
        # Python unblocks SIGINT when it starts this process, which must not happen among the workers' starts.
        resource_tracker.ensure_running()
        try:
            with interrupts.deferred():
                for _ in range(min(workers, len(shards))):
                    connection, process = _start_worker(request)
                    processes[connection] = process
            for connection in processes:
                _send(connection, waiting.pop())
            busy = set(processes)
            while busy:
                for connection in cast(list[Connection], wait_for(list(busy))):
                    report = _receive(connection, processes[connection])
                    if isinstance(report, BaseException):
                        raise report
                    if report is not None:
                        progress.add(*report)
                        continue
                    progress.add_shards(1)
                    if waiting:
                        _send(connection, waiting.pop())
                    else:
                        busy.remove(connection)
        finally:
            with interrupts.deferred():
                _end(processes)

    return engine


def _start_worker(request: ExportRequest) -> tuple[Connection, SpawnProcess]:
    # Not forked: the runtimes and fsspec have threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Daemonic, so that Python's own end never waits for it.
    process = context.Process(target=_work, args=(theirs, request), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _send(connection: Connection, shard: Shard) -> None:
    # Of a worker that has ended, what it reported last, or how it ended, is received next.
    with contextlib.suppress(BrokenPipeError):
        connection.send(shard)


def _receive(connection: Connection, process: SpawnProcess) -> Report:
    try:
        report: Report = connection.recv()
    except (EOFError, OSError):
        raise ExportError("a worker process", _describe_end(process)) from None
    return report


def _describe_end(process: SpawnProcess) -> str:
    process.join(DISCARD_TIMEOUT_S)
    code = process.exitcode
    if code == -signal.SIGKILL:
        return "was killed; too little memory is the most common reason"
    if code and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}; its error is above"


def _end(processes: dict[Connection, SpawnProcess]) -> None:
    """End the workers, busy or not: a shard that is being made is of no use without its commit."""
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + DISCARD_TIMEOUT_S
    for connection, process in processes.items():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        connection.close()


def _work(connection: Connection, request: ExportRequest) -> None:
    """Run in a worker process: make and commit the shards that come through the pipe."""
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _make_shards(connection, request)
    except Exception as error:
        if not isinstance(error, GanmintError):
            traceback.print_exc()
        with contextlib.suppress(OSError):
            connection.send(error)


def _make_shards(connection: Connection, request: ExportRequest) -> None:
    sampler = artifact.load_files(read_model(request), request.device)
    target = Target(request.url)
    with one_thread(sampler):
        while True:
            shard: Shard = connection.recv()
            worker.make_shard(
                sampler,
                target,
                request.spec,
                shard,
                lambda images, size: connection.send((images, size)),
                signing_key=request.signing_key,
            )
            connection.send(None)


def _exit(number: int, _frame: FrameType | None) -> None:
    # Once: the way out, which discards the draft, is not to be cut short.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    wait_for([parent.sentinel])
    os._exit(1)
