"""Making the shards of an export on this machine.

Knows: what is left to do at a target, and worker processes, each with its own copy of the model and
one torch thread, that end with their parent. Does not know: how a shard is made, other machines.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

import torch

from models import artifact, memory
from models.errors import ExportError
from models.sampler import Sampler
from service.export import state, worker
from service.export.plan import ExportSpec, Shard
from service.export.progress import Progress
from service.export.target import Target

Say = Callable[[str], None]
POLL_S = 0.2


@dataclass(frozen=True)
class Order:
    """What a run makes.

    Attributes:
        url: the target.
        job: the export.
        folder: the model's artifact.
        device: a torch device name.
        shards: this run's share of the job's shards.
    """

    url: str
    job: ExportSpec
    folder: Path
    device: str
    shards: tuple[Shard, ...]


# Makes these shards of the order, telling the progress; returns when all are committed.
Engine = Callable[[Order, Sequence[Shard], Progress], None]


def run(order: Order, engine: Engine, say: Say) -> int:
    """Make what is not committed yet; returns how many shards that was.

    Raises: ExportError; what was committed is kept, and another run goes on from there.
    """
    target = Target(order.url)
    state.begin(target, order.job, order.folder)
    target.tidy(name for s in order.shards for name in (s.name, state.marker(s.number)))
    committed = state.commits(target, order.job, list(order.shards))
    for number, made in sorted(committed.items()):
        if wrong := state.damage(target, made, thorough=False):
            say(f"shard {number} is made again: {wrong}")
            del committed[number]
    missing = [s for s in order.shards if s.number not in committed]
    if committed:
        say(f"{len(committed)} of {len(order.shards)} shards are committed already")
    if not missing:
        return 0
    images = sum(s.count for s in order.shards)
    progress = Progress(images, len(order.shards), images - sum(s.count for s in missing), len(committed))
    try:
        engine(order, missing, progress)
    except ExportError as error:
        progress.end()
        raise ExportError(
            error.path, f"{error.reason}. {progress.done_shards} of {len(order.shards)} shards are committed and kept; "
            "run the same command again to go on",
        ) from error  # fmt: skip
    except KeyboardInterrupt:
        progress.end()
        say(f"Interrupted. {progress.done_shards} of {len(order.shards)} shards are committed and kept; "
            "run the same command again to go on")  # fmt: skip
        raise
    progress.end()
    return len(missing)


def in_this_process(order: Order, shards: Sequence[Shard], progress: Progress) -> None:
    """An engine: one after the other."""
    sampler, target = artifact.load(order.folder, order.device), Target(order.url)
    with one_thread():
        for shard in shards:
            worker.make(sampler, target, order.job, shard, progress.add)
            progress.shard()


def in_processes(workers: int) -> Engine:
    """An engine: so many worker processes, each taking the next shard."""

    def engine(order: Order, shards: Sequence[Shard], progress: Progress) -> None:
        # Not forked: torch and fsspec have threads.
        context = multiprocessing.get_context("spawn")
        made: Any = context.Queue()
        pool = ProcessPoolExecutor(min(workers, len(shards)), context, _start, (order, made))
        try:
            with _no_interrupt():
                left = {pool.submit(_make, shard) for shard in shards}
            while left:
                done, left = wait(left, POLL_S, FIRST_COMPLETED)
                _drain(made, progress)
                _raise_first(done)
                progress.shard(len(done))
            _drain(made, progress)
        finally:
            _end(pool)
            made.cancel_join_thread()
            made.close()

    return engine


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C reaches the whole terminal group, but the parent decides: children begin with it blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        try:
            future.result()
        except BrokenProcessPool:
            raise ExportError("a worker process", "was killed; too little memory is the most common reason") from None


def _drain(made: Any, progress: Progress) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            progress.add(*made.get_nowait())


def _end(pool: ProcessPoolExecutor) -> None:
    """At once: what is being made is of no use without its commit."""
    processes = list((pool._processes or {}).values())
    # First: a worker that is still starting would complain about what the shutdown closes.
    for process in processes:
        process.terminate()
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.join()


@contextlib.contextmanager
def one_thread() -> Any:
    """Torch on one thread, for the whole time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# In a worker process

_sampler: Sampler
_order: Order
_made: Any


def _start(order: Order, made: Any) -> None:
    global _sampler, _order, _made
    memory.keep_freed()
    parent = multiprocessing.parent_process()
    assert parent
    threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    torch.set_num_threads(1)
    _sampler, _order, _made = artifact.load(order.folder, order.device), order, made


def _make(shard: Shard) -> None:
    worker.make(_sampler, Target(_order.url), _order.job, shard, lambda images, size: _made.put((images, size)))
