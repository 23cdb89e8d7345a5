"""The bounded queue in front of one model, and the two stages behind it: mint, then encode.

There is no timer. An idle model starts at once, with what is there; while one batch is minted, the next one gathers
and the one before is encoded. A batch takes one image of each waiting request in turn, which keeps it fair.
Not here: what minting and encoding are (models.sampler, models.images).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from models.address import Address
from models.images import MediaType
from service.deadline import Deadline
from service.errors import DeadlineError, QueueFullError
from service.metrics import ModelMetrics
from service.pending_request import PendingRequest, Pixels, StartTrace
from service.worker_thread import WorkerThread

log = logging.getLogger("ganmint.service")
Encode = Callable[[Pixels, MediaType, str], bytes]
# Weight of the newest batch in the moving average that Retry-After is computed from.
RATE_WEIGHT = 0.2


class Mint(Protocol):
    """Mints a batch (see `models.sampler.Sampler.mint`)."""

    def __call__(self, addresses: Sequence[Address], use_all_cores: bool = False) -> Pixels:
        """Return uint8 (n, H, W, C), one image for each address."""


# An image of a request, by its position.
Slot = tuple[PendingRequest, int]
MintedImage = tuple[PendingRequest, int, Pixels]
FinishedImage = tuple[PendingRequest, int, bytes | Pixels]
# Batches that may wait to be encoded; the next forward begins when there are fewer.
ENCODING_AHEAD = 2


class Batcher:
    """Batches the images of many requests for one model. Its requests live on one event loop.

    The threads take their batches themselves. When a busy event loop handed them over, an overload of refused
    requests halved the throughput.

    Args:
        mint: called in `forward_thread` with at most `batch_size` addresses. It may use all cores when nothing else
            waits for a forward or is encoded, in any batcher of these threads.
        encode: called in `encode_thread` for each image of a request that has a media type.
        batch_size: the most images of a batch.
        is_padded: whether `mint` fills up every batch, so that a small one takes as long as a full one.
        queue_images: how many images may wait, over all requests.
        forward_thread: several batchers may share it; they alternate by the batch.
        encode_thread: another one, so that a batch is encoded while the next is minted. It may be shared, too.
        metrics: where batches and failures are recorded.
        start_trace: begins the trace of a request; None: no request is traced.
    """

    def __init__(
        self,
        mint: Mint,
        encode: Encode,
        batch_size: int,
        is_padded: bool,
        queue_images: int,
        forward_thread: WorkerThread,
        encode_thread: WorkerThread,
        metrics: ModelMetrics,
        start_trace: StartTrace | None = None,
    ) -> None:
        self._mint = mint
        self._encode = encode
        self._batch_size = batch_size
        self._is_padded = is_padded
        self._queue_images = queue_images
        self._forward_thread = forward_thread
        self._encode_thread = encode_thread
        self._metrics = metrics
        self._start_trace = start_trace
        # Guards all that follows: the event loop adds and drops, the forward thread takes.
        self._lock = threading.Lock()
        self._queue: deque[PendingRequest] = deque()
        self._num_waiting = 0
        self._is_minting = False
        self._num_encoding = 0
        # Seconds for each row that is run, a moving average.
        self._mean_row_s = 0.0

    @property
    def num_waiting(self) -> int:
        """Images that wait for a batch."""
        return self._num_waiting

    def check_room(self, num_images: int, timeout_s: float) -> None:
        """Check whether a request for `num_images` would be queued now.

        Raises:
            QueueFullError: when they do not fit, or when the images before them take longer than `timeout_s`.
        """
        # Round-robin: each waiting request gets at most `num_images` images in before ours is complete.
        images_before = min(self._num_waiting, len(self._queue) * num_images)
        fits = self._num_waiting + num_images <= self._queue_images
        if not fits or self._estimate_s(images_before) > timeout_s:
            raise QueueFullError(max(1, math.ceil(self._estimate_s(self._num_waiting))))

    @contextmanager
    def submit(
        self, addresses: Sequence[Address], media_type: MediaType | None, deadline: Deadline
    ) -> Iterator[PendingRequest]:
        """Queue a request's images; when the block ends, drop those that still wait.

        The request's own methods raise DeadlineError at the deadline, or the error of minting or encoding one of
        its images.

        Raises:
            QueueFullError: at once, as `check_room` does.
        """
        self.check_room(len(addresses), deadline.remaining_s)
        trace = self._start_trace(addresses) if self._start_trace else None
        pending = PendingRequest(addresses, media_type, trace)
        with self._lock:
            self._queue.append(pending)
            self._add_to_waiting(len(addresses))
        if not self._is_minting:
            # In the loop's next turn, so that requests that arrive together share the first batch.
            pending.loop.call_soon(self._start_next_batch)
        timer = pending.loop.call_later(deadline.remaining_s, self._expire, pending, deadline.timeout_s)
        try:
            yield pending
        finally:
            timer.cancel()
            if pending.is_open:
                pending.future.cancel()
            self._drop_waiting(pending)
            pending.add_span("queue", pending.submitted_at, pending.taken_at)

    def _start_next_batch(self) -> None:
        """Start a batch, if images wait, none is being minted, and the encoder keeps up. Called in any thread."""
        with self._lock:
            if self._is_minting or not self._queue or self._num_encoding >= ENCODING_AHEAD:
                return
            self._is_minting = True
        self._forward_thread.submit(self._run_batch)

    def _run_batch(self) -> None:
        """Mint one batch, in the forward thread. The next is a new task, so that models alternate."""
        batch: list[Slot] = []
        minted_images: list[MintedImage] = []
        try:
            batch = self._take_batch()
            minted_images = self._mint_isolating_failures(batch, self._is_alone())
        except Exception as error:
            # A fault outside of minting. Without this the model would answer nothing any more.
            log.exception("a batch failed outside of minting")
            for pending in dict.fromkeys(pending for pending, _ in batch):
                _call_on_loop(pending, pending.fail, error)
        to_encode = [item for item in minted_images if item[0].media_type and item[0].is_open]
        pixels = [item for item in minted_images if item[0].media_type is None]
        with self._lock:
            self._is_minting = False
            self._num_encoding += bool(to_encode)
        if to_encode:
            self._encode_thread.submit(self._encode_batch, to_encode)
        self._start_next_batch()
        self._deliver(pixels)

    def _take_batch(self) -> list[Slot]:
        """Take images from the queue, one of each request in turn, until the batch is full."""
        batch: list[Slot] = []
        with self._lock:
            while self._queue and len(batch) < self._batch_size:
                pending = self._queue.popleft()
                if pending.taken_at is None:
                    pending.taken_at = time.perf_counter()
                    self._metrics.record_wait(pending.taken_at - pending.submitted_at)
                batch.append((pending, pending.num_taken))
                pending.num_taken += 1
                if pending.num_taken < len(pending.addresses):
                    self._queue.append(pending)
            self._add_to_waiting(-len(batch))
        return batch

    def _is_alone(self) -> bool:
        """Whether the batch just taken is all that there is to do. Called in the forward thread."""
        return not self._queue and self._forward_thread.num_tasks == 1 and not self._encode_thread.num_tasks

    def _mint_isolating_failures(self, batch: list[Slot], use_all_cores: bool) -> list[MintedImage]:
        """Mint the batch. If it fails, mint each request's part alone, so that only the faulty request fails."""
        if not batch:
            return []
        try:
            return self._mint_batch(batch, use_all_cores)
        except Exception as error:
            requests = list(dict.fromkeys(pending for pending, _ in batch))
            if len(requests) == 1:
                self._fail_request(requests[0], error)
                return []
        minted_images: list[MintedImage] = []
        for pending in requests:
            part = [slot for slot in batch if slot[0] is pending]
            minted_images += self._mint_isolating_failures(part, use_all_cores)
        return minted_images

    def _mint_batch(self, batch: list[Slot], use_all_cores: bool) -> list[MintedImage]:
        """Mint the batch and record its duration."""
        started_at = time.perf_counter()
        pixels = self._mint([pending.addresses[position] for pending, position in batch], use_all_cores=use_all_cores)
        batch_s = time.perf_counter() - started_at
        self._trace_batch("forward", batch, started_at)
        num_rows = self._batch_size if self._is_padded else len(batch)
        weight = RATE_WEIGHT if self._mean_row_s else 1.0
        self._mean_row_s += weight * (batch_s / num_rows - self._mean_row_s)
        self._metrics.record_forward(len(batch), self._batch_size, batch_s)
        return [(pending, position, image) for (pending, position), image in zip(batch, pixels)]

    def _encode_batch(self, minted_images: list[MintedImage]) -> None:
        """Encode a batch, in the encoder's thread."""
        started_at = time.perf_counter()
        files: list[FinishedImage] = []
        try:
            for pending, position, image in minted_images:
                try:
                    assert pending.media_type is not None
                    address = str(pending.addresses[position])
                    files.append((pending, position, self._encode(image, pending.media_type, address)))
                except Exception as error:
                    self._fail_request(pending, error)
            self._metrics.record_encode(time.perf_counter() - started_at)
            self._trace_batch("encode", [(pending, position) for pending, position, _ in files], started_at)
        finally:
            with self._lock:
                self._num_encoding -= 1
            self._start_next_batch()
            self._deliver(files)

    def _trace_batch(self, name: str, batch: list[Slot], started_at: float) -> None:
        """Add a span that ends now to the trace of each request in the batch.

        Each request has one of its own, with the times that they share, so that its trace says where its time went:
        a span has one parent, and viewers show those that are only linked elsewhere.
        """
        if self._start_trace is None:
            return
        ended_at = time.perf_counter()
        positions: dict[PendingRequest, list[int]] = {}
        for pending, position in batch:
            positions.setdefault(pending, []).append(position)
        for pending, own in positions.items():
            pending.add_span(name, started_at, ended_at, own, len(batch))

    def _deliver(self, finished_images: Sequence[FinishedImage]) -> None:
        """Hand images to their requests, on the event loop."""
        if finished_images:
            _call_on_loop(finished_images[0][0], _add_images, finished_images)

    def _fail_request(self, pending: PendingRequest, error: Exception) -> None:
        log.error("minting for %s failed", pending.addresses[0], exc_info=error)
        self._drop_waiting(pending)
        if pending.trace:
            pending.trace.record_error(error)
        _call_on_loop(pending, pending.fail, error)
        self._metrics.record_failure()

    def _expire(self, pending: PendingRequest, timeout_s: float) -> None:
        if pending.is_open:
            pending.fail(DeadlineError(timeout_s))
            self._drop_waiting(pending)

    def _drop_waiting(self, pending: PendingRequest) -> None:
        """Remove the images of a request that no batch has taken."""
        if pending.num_taken == len(pending.addresses):
            return
        with self._lock:
            if pending in self._queue:
                self._queue.remove(pending)
                self._add_to_waiting(pending.num_taken - len(pending.addresses))

    def _add_to_waiting(self, num_images: int) -> None:
        self._num_waiting += num_images
        self._metrics.set_waiting(self._num_waiting)

    def _estimate_s(self, num_images: int) -> float:
        """Estimate how long so many waiting images take. Where many wait, batches are full."""
        return num_images * self._mean_row_s


def _call_on_loop(pending: PendingRequest, function: Callable[..., None], argument: object) -> None:
    # A closed loop raises RuntimeError; then nobody waits for a response.
    with suppress(RuntimeError):
        pending.loop.call_soon_threadsafe(function, argument)


def _add_images(finished_images: Sequence[FinishedImage]) -> None:
    for pending, position, image in finished_images:
        pending.add_image(position, image)
