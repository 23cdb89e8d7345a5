"""The bounded queue in front of one model.

Knows: who waits, how many images may wait, and how the next fixed batch is filled fairly: one image
of each waiting request in turn. No timer: an idle model starts at once; while a batch runs, the next
gathers. Does not know: HTTP, encoding, what minting is.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.address import SampleAddress
from service.errors import QueueFullError

Mint = Callable[[Sequence[SampleAddress]], NDArray[np.uint8]]
Observe = Callable[[int, float], None]


@dataclass(eq=False)
class _Job:
    """One request's images: how many were taken into batches, how many came back."""

    addresses: Sequence[SampleAddress]
    answer: asyncio.Future[None]
    taken: int = 0
    pixels: list[NDArray[np.uint8] | None] = field(default_factory=list)
    missing: int = 0


class Batcher:
    """Batches the images of many requests for one model. Lives on one event loop.

    Args:
        mint: called in `executor` with at most `batch_size` addresses; returns uint8 (n, H, W, C).
        batch_size: the fixed batch.
        queue_images: how many images may wait, over all requests.
        executor: runs one batch of this model at a time.
        observe: told (images, seconds) after each batch.
    """

    def __init__(
        self, mint: Mint, batch_size: int, queue_images: int, executor: Executor, observe: Observe = lambda *_: None
    ) -> None:
        self._mint, self._batch_size, self._queue_images = mint, batch_size, queue_images
        self._executor, self._observe = executor, observe
        self._jobs: deque[_Job] = deque()
        self._running: asyncio.Task[None] | None = None
        self._image_s = 0.0
        self.waiting = 0

    async def mint(self, addresses: Sequence[SampleAddress]) -> NDArray[np.uint8]:
        """The pixels of one request: uint8 (n, H, W, C).

        Raises: QueueFullError; or whatever minting one of its images raised. When the caller is
            cancelled, images that are still waiting are dropped.
        """
        count = len(addresses)
        if self.waiting + count > self._queue_images:
            raise QueueFullError(max(1, math.ceil(self.waiting * self._image_s)))
        job = _Job(addresses, asyncio.get_running_loop().create_future(), 0, [None] * count, count)
        self._jobs.append(job)
        self.waiting += count
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        try:
            await job.answer
        finally:
            self._drop(job)
        return np.stack([image for image in job.pixels if image is not None])

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                started = time.perf_counter()
                try:
                    pixels = await loop.run_in_executor(self._executor, self._mint, [j.addresses[k] for j, k in batch])
                except Exception as error:
                    self._fail(batch, error)
                    continue
                elapsed = time.perf_counter() - started
                self._image_s = elapsed / len(batch)
                self._observe(len(batch), elapsed)
                self._deliver(batch, pixels)
        finally:
            self._running = None

    def _next_batch(self) -> list[tuple[_Job, int]]:
        batch: list[tuple[_Job, int]] = []
        while self._jobs and len(batch) < self._batch_size:
            job = self._jobs.popleft()
            batch.append((job, job.taken))
            job.taken += 1
            self.waiting -= 1
            if job.taken < len(job.addresses):
                self._jobs.append(job)
        return batch

    def _deliver(self, batch: list[tuple[_Job, int]], pixels: NDArray[np.uint8]) -> None:
        for (job, position), image in zip(batch, pixels):
            job.pixels[position] = image
            job.missing -= 1
            if not job.missing and not job.answer.done():
                job.answer.set_result(None)

    def _fail(self, batch: list[tuple[_Job, int]], error: Exception) -> None:
        for job in {id(job): job for job, _ in batch}.values():
            if not job.answer.done():
                job.answer.set_exception(error)
            self._drop(job)

    def _drop(self, job: _Job) -> None:
        """Forget what has not been taken of a job that is answered, failed or cancelled."""
        if job.taken < len(job.addresses) and job in self._jobs:
            self._jobs.remove(job)
            self.waiting -= len(job.addresses) - job.taken
