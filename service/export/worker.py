"""Making one shard.

Knows: latents, forward and encoding run ahead of writing in threads of their own, a bounded number of
chunks each, so that memory does not depend on how many images there are; the commit marker comes last.
Does not know: which shards are made, by how many processes, or on which machine.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models import images
from models.address import Address
from models.sampler import Sampler
from service.export import formats, state
from service.export.plan import ExportSpec, Shard, chunks
from service.export.state import Commit
from service.export.target import Target

# Images that pass from thread to thread at once, rounded to whole batches; and how many such chunks wait.
CHUNK = 64
AHEAD = 2
Report = Callable[[int, int], None]
Minted = tuple[list[Address], NDArray[np.uint8]]
Chunk = tuple[list[Address], Sequence[formats.Image]]
T = TypeVar("T")


def make(sampler: Sampler, target: Target, job: ExportSpec, shard: Shard, report: Report | None = None) -> Commit:
    """Mint a shard, publish it, commit it.

    Args: report: is told of images and bytes as they are written.
    Raises: ExportError; then nothing of the shard is to be seen, or it is not committed.
    """
    card = sampler.manifest
    labels = np.zeros(len(card.class_names), np.int64)
    with target.draft(shard.name) as draft:
        writer, written = formats.writer(draft, job, card, shard), 0
        minted = ahead(_mint(sampler, job, shard))
        for addresses, files in ahead(_encode(minted, job)):
            writer.add(addresses, files)
            for address in addresses:
                if address.label is not None:
                    labels[address.label] += 1
            if report:
                report(len(addresses), draft.written() - written)
            written = draft.written()
        writer.close()
    if report:
        # What the writer kept to the end.
        report(0, sum(part.bytes for part in draft.parts.values()) - written)
    made = Commit(
        number=shard.number,
        first=shard.first,
        count=shard.count,
        job=state.identity(job),
        labels=tuple(labels.tolist()),
        fingerprint=sampler.fingerprint,
        parts=draft.parts,
    )
    state.commit(target, made)
    return made


def _mint(sampler: Sampler, job: ExportSpec, shard: Shard) -> Generator[Minted, None, None]:
    size = -(-CHUNK // sampler.batch_size) * sampler.batch_size
    for first, n in chunks(shard, size):
        addresses = job.addresses(sampler.manifest, first, n)
        yield addresses, sampler.mint(addresses)


def _encode(minted: Generator[Minted, None, None], job: ExportSpec) -> Generator[Chunk, None, None]:
    for addresses, pixels in minted:
        if job.image_format is None:
            yield addresses, list(pixels)
        else:
            media_type = images.EXTENSIONS[job.image_format]
            yield addresses, [images.encode(image, media_type, str(a)) for image, a in zip(pixels, addresses)]


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same items, made in a thread of their own, at most AHEAD of them before they are asked for."""
    waiting: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return

    def run() -> None:
        try:
            for item in items:
                put((item,))
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)
        finally:
            items.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stop.set()
        thread.join()
