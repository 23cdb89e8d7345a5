"""One request's images while they are minted: what waits for them, and what its trace is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.address import Address
from models.images import MediaType

Pixels = NDArray[np.uint8]


class RequestTrace(Protocol):
    """The spans of one request (see `service.tracing`). Times are those of time.perf_counter()."""

    def add_span(
        self,
        name: str,
        started_at: float,
        ended_at: float,
        addresses: Sequence[Address],
        batch_images: int | None,
    ) -> None:
        """Add a span of what was done for these addresses, in a batch of so many images of all requests."""

    def record_error(self, error: BaseException) -> None:
        """Say what ended the request inside the model."""


class StartTrace(Protocol):
    """Begins the trace of a request. Called on its event loop, in its task."""

    def __call__(self, addresses: Sequence[Address]) -> RequestTrace | None:
        """Return the trace, or None where this request is not traced."""


class PendingRequest:
    """One request's images while they are minted. Created by `Batcher.submit`; used on one event loop.

    Attributes:
        addresses: the addresses to mint, in order.
        media_type: the format of each image's file, or None for pixels.
        trace: where its spans go, or None.
        loop: the event loop that created it.
        future: resolved when every image has arrived; holds the error if the request failed.
        submitted_at: time.perf_counter() at its creation.
        taken_at: time.perf_counter() when its first image was taken into a batch, or None.
        num_taken: how many of the images have been taken into a batch.
    """

    def __init__(
        self, addresses: Sequence[Address], media_type: MediaType | None, trace: RequestTrace | None = None
    ) -> None:
        self.addresses = addresses
        self.media_type = media_type
        self.trace = trace
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.submitted_at = time.perf_counter()
        self.taken_at: float | None = None
        self.num_taken = 0
        self._images: list[bytes | Pixels | None] = [None] * len(addresses)
        self._num_missing = len(addresses)
        self._progress: asyncio.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether the request still waits for images."""
        return not self.future.done()

    async def wait_for_files(self) -> list[bytes]:
        """Wait for every image, as files. Raises the error that ended the request; to cancel the wait ends it, too."""
        await self.future
        return [image for image in self._images if isinstance(image, bytes)]

    async def wait_for_pixels(self) -> Pixels:
        """Wait for every image, as uint8 (n, H, W, C). Raises the error that ended the request, as `wait_for_files`."""
        await self.future
        return np.stack([image for image in self._images if isinstance(image, np.ndarray)])

    async def iterate_in_order(self) -> AsyncIterator[bytes | Pixels]:
        """Yield each image as soon as it and all before it have arrived. Raises the error that ended the request."""
        self._progress = asyncio.Event()
        for position in range(len(self.addresses)):
            while (image := self._images[position]) is None:
                if self.future.done():
                    self.future.result()
                self._progress.clear()
                await self._progress.wait()
            # Released once it is yielded, so that a long response is not kept in memory twice.
            self._images[position] = None
            yield image

    def add_image(self, position: int, image: bytes | Pixels) -> None:
        """Store an image; the last one resolves the request."""
        self._images[position] = image
        self._num_missing -= 1
        if not self._num_missing and self.is_open:
            self.future.set_result(None)
        self._notify()

    def fail(self, error: BaseException) -> None:
        """End the request with an error, unless it has ended already."""
        if self.is_open:
            self.future.set_exception(error)
            # Mark the exception as retrieved: asyncio would log it where nobody waits any more.
            self.future.exception()
        self._notify()

    def add_span(
        self,
        name: str,
        started_at: float,
        ended_at: float | None = None,
        positions: Sequence[int] | None = None,
        batch_images: int | None = None,
    ) -> None:
        """Add a span to the request's trace, if it is traced. May be called in any thread.

        Args:
            name: of the span.
            started_at, ended_at: of time.perf_counter(); default: it ends now.
            positions: of the images that it is about. Default: all.
            batch_images: how many images of all requests were in the same batch.
        """
        if self.trace:
            addresses = self.addresses if positions is None else [self.addresses[k] for k in positions]
            self.trace.add_span(name, started_at, ended_at or time.perf_counter(), addresses, batch_images)

    def _notify(self) -> None:
        if self._progress:
            self._progress.set()
