"""The bounded queue in front of one model, and the two stages behind it.

Knows: who waits, how many images may wait and for how long, and how the next fixed batch is filled
fairly: one image of each waiting request in turn. No timer: an idle model starts at once; while a
batch runs, the next gathers, and the one before is encoded. Does not know: HTTP, what minting or
encoding is.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from models.address import Address
from models.images import MediaType
from service.errors import DeadlineError, QueueFullError
from service.metrics import ModelMetrics

log = logging.getLogger("ganmint.service")
Pixels = NDArray[np.uint8]
Mint = Callable[[Sequence[Address]], Pixels]
Encode = Callable[[Pixels, MediaType, str], bytes]
# How much the newest batch counts in the rate that Retry-After is computed from.
RATE_WEIGHT = 0.2


class PendingRequest:
    """One request's images on their way. Made by `Batcher.job`.

    Attributes:
        addresses: what was asked for, in order.
        media_type: what each image is encoded as, or None to keep pixels.
        loop: the event loop on which it lives.
        answer: done when every image is there, or with the error that ended the job.
    """

    def __init__(self, addresses: Sequence[Address], media_type: MediaType | None) -> None:
        self.addresses, self.media_type = addresses, media_type
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[None] = self.loop.create_future()
        self.submitted = time.perf_counter()
        self.taken = 0
        self._images: list[bytes | Pixels | None] = [None] * len(addresses)
        self._missing = len(addresses)
        self._news: asyncio.Event | None = None

    @property
    def open(self) -> bool:
        """Whether images are still wanted."""
        return not self.answer.done()

    async def files(self) -> list[bytes]:
        """Every image as a file, once all are there. Raises what ended the job."""
        await asyncio.shield(self.answer)
        return [image for image in self._images if isinstance(image, bytes)]

    async def pixels(self) -> Pixels:
        """Every image as pixels, uint8 (n, H, W, C). Raises what ended the job."""
        await asyncio.shield(self.answer)
        return np.stack([image for image in self._images if isinstance(image, np.ndarray)])

    async def in_order(self) -> AsyncIterator[bytes | Pixels]:
        """Each image as soon as it and all before it are there. Raises what ended the job."""
        self._news = asyncio.Event()
        for position in range(len(self.addresses)):
            while (image := self._images[position]) is None:
                if self.answer.done():
                    self.answer.result()
                self._news.clear()
                await self._news.wait()
            # Given away once, so that a long answer is not kept twice.
            self._images[position] = None
            yield image

    def put(self, position: int, image: bytes | Pixels) -> None:
        """An image has come back."""
        self._images[position] = image
        self._missing -= 1
        if not self._missing and self.open:
            self.answer.set_result(None)
        self._tell()

    def fail(self, error: BaseException) -> None:
        """The job ends without its images."""
        if self.open:
            self.answer.set_exception(error)
            # Nobody may be waiting any more; that is no reason for asyncio to complain.
            self.answer.exception()
        self._tell()

    def _tell(self) -> None:
        if self._news:
            self._news.set()


Item = tuple[PendingRequest, int]
Minted = tuple[PendingRequest, int, Pixels]
# Batches that may wait to be encoded; the next forward begins when there are fewer.
ENCODING_AHEAD = 2


class Batcher:
    """Batches the images of many requests for one model. Its jobs live on one event loop.

    The threads take their batches themselves: where they had to wait for a busy event loop to hand them
    over, an overload of refusals halved what was minted.

    Args:
        mint: called in `forward` with at most `batch_size` addresses; returns uint8 (n, H, W, C).
        encode: called in `encoder` for each image that is wanted as a file.
        batch_size: the fixed batch.
        queue_images: how many images may wait, over all requests.
        forward, encoder: one thread each, so that a batch is encoded while the next is minted. Several
            batchers may share them; they take turns by the batch.
        metrics: told what happens.
    """

    def __init__(
        self,
        mint: Mint,
        encode: Encode,
        batch_size: int,
        queue_images: int,
        forward: Executor,
        encoder: Executor,
        metrics: ModelMetrics,
    ) -> None:
        self._mint, self._encode, self._batch_size, self._queue_images = mint, encode, batch_size, queue_images
        self._forward, self._encoder, self._metrics = forward, encoder, metrics
        # Guards all that follows: the event loop adds and drops, the forward thread takes.
        self._lock = threading.Lock()
        self._jobs: deque[PendingRequest] = deque()
        self._waiting = 0
        self._minting = False
        self._encoding = 0
        self._batch_s = 0.0

    @property
    def waiting(self) -> int:
        """Images that wait for a batch."""
        return self._waiting

    def check_room(self, images: int, timeout_s: float) -> None:
        """Whether a request for so many images would be queued now.

        Raises: QueueFullError when they do not fit, or when those that go before them take longer than `timeout_s`.
        """
        # Taken in turn, each waiting request gets at most as many images in before it as it has itself.
        before = min(self._waiting, len(self._jobs) * images)
        if self._waiting + images > self._queue_images or self._seconds(before) > timeout_s:
            raise QueueFullError(max(1, math.ceil(self._seconds(self._waiting))))

    @contextmanager
    def job(
        self, addresses: Sequence[Address], media_type: MediaType | None, timeout_s: float
    ) -> Iterator[PendingRequest]:
        """Queue a request's images; whatever still waits when the block is left is dropped.

        Raises: QueueFullError at once; the job's own methods raise DeadlineError after `timeout_s`,
            or what minting or encoding one of its images raised.
        """
        self.check_room(len(addresses), timeout_s)
        job = PendingRequest(addresses, media_type)
        with self._lock:
            self._jobs.append(job)
            self._count(len(addresses))
        if not self._minting:
            # Soon: what arrives together shares the first batch.
            job.loop.call_soon(self._go_on)
        timer = job.loop.call_later(timeout_s, self._expire, job, timeout_s)
        try:
            yield job
        finally:
            timer.cancel()
            if job.open:
                job.answer.cancel()
            self._drop(job)

    def _go_on(self) -> None:
        """Have the next batch minted, if one waits, none is, and the encoder keeps up. In any thread."""
        with self._lock:
            if self._minting or not self._jobs or self._encoding >= ENCODING_AHEAD:
                return
            self._minting = True
        self._forward.submit(self._turn)

    def _turn(self) -> None:
        """One batch. In the forward thread; the next is a turn of its own, so that models alternate."""
        minted = self._minted(self._next_batch())
        files = [item for item in minted if item[0].media_type and item[0].open]
        pixels = [item for item in minted if item[0].media_type is None]
        with self._lock:
            self._minting = False
            self._encoding += bool(files)
        if files:
            self._encoder.submit(self._encoded, files)
        self._go_on()
        self._deliver(pixels)

    def _next_batch(self) -> list[Item]:
        batch: list[Item] = []
        with self._lock:
            while self._jobs and len(batch) < self._batch_size:
                job = self._jobs.popleft()
                if not job.taken:
                    self._metrics.waited(time.perf_counter() - job.submitted)
                batch.append((job, job.taken))
                job.taken += 1
                if job.taken < len(job.addresses):
                    self._jobs.append(job)
            self._count(-len(batch))
        return batch

    def _minted(self, batch: list[Item]) -> list[Minted]:
        """The batch's pixels. If it fails, each request's part runs alone, so that only the guilty fail."""
        if not batch:
            return []
        try:
            return self._forwarded(batch)
        except Exception as error:
            jobs = list(dict.fromkeys(job for job, _ in batch))
            if len(jobs) == 1:
                self._give_up(jobs[0], error)
                return []
        return [item for job in jobs for item in self._minted([item for item in batch if item[0] is job])]

    def _forwarded(self, batch: list[Item]) -> list[Minted]:
        started = time.perf_counter()
        pixels = self._mint([job.addresses[position] for job, position in batch])
        elapsed = time.perf_counter() - started
        weight = RATE_WEIGHT if self._batch_s else 1.0
        self._batch_s += weight * (elapsed - self._batch_s)
        self._metrics.forwarded(len(batch), self._batch_size, elapsed)
        return [(job, position, image) for (job, position), image in zip(batch, pixels)]

    def _encoded(self, minted: list[Minted]) -> None:
        """Encode a batch. In the encoder's thread."""
        started = time.perf_counter()
        files: list[tuple[PendingRequest, int, bytes | Pixels]] = []
        for job, position, image in minted:
            try:
                assert job.media_type is not None
                files.append((job, position, self._encode(image, job.media_type, str(job.addresses[position]))))
            except Exception as error:
                self._give_up(job, error)
        self._metrics.encoded(time.perf_counter() - started)
        with self._lock:
            self._encoding -= 1
        self._go_on()
        self._deliver(files)

    def _deliver(self, images: Sequence[tuple[PendingRequest, int, bytes | Pixels]]) -> None:
        """Hand images to their jobs, on the event loop."""
        if images:
            _on_loop(images[0][0], _put_all, images)

    def _give_up(self, job: PendingRequest, error: Exception) -> None:
        log.error("minting for %s failed", job.addresses[0], exc_info=error)
        self._metrics.failed()
        self._drop(job)
        _on_loop(job, job.fail, error)

    def _expire(self, job: PendingRequest, timeout_s: float) -> None:
        if job.open:
            job.fail(DeadlineError(timeout_s))
            self._drop(job)

    def _drop(self, job: PendingRequest) -> None:
        """Forget what has not been taken of a job that is answered, failed or given up."""
        if job.taken == len(job.addresses):
            return
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)
                self._count(job.taken - len(job.addresses))

    def _count(self, change: int) -> None:
        self._waiting += change
        self._metrics.waiting(self._waiting)

    def _seconds(self, images: int) -> float:
        return images / self._batch_size * self._batch_s


def _on_loop(job: PendingRequest, what: Callable[..., None], argument: object) -> None:
    # After the end of the loop nobody waits for an answer.
    with suppress(RuntimeError):
        job.loop.call_soon_threadsafe(what, argument)


def _put_all(images: Sequence[tuple[PendingRequest, int, bytes | Pixels]]) -> None:
    for job, position, image in images:
        job.put(position, image)
