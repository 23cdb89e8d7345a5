"""Make one shard: mint, encode, write, publish, commit.

Minting and encoding run ahead of writing in threads of their own, by a bounded number of chunks, so that memory does
not depend on how many images there are. The commit marker comes last.
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
from models.content_credentials import Signer, SigningKey
from models.errors import ExportError, FileError
from models.manifest import Manifest
from models.sampler import Sampler
from service.export import formats, state
from service.export.plan import ExportContext, ExportSpec, Shard, chunks
from service.export.state import ShardCommit
from service.export.target import Target

# Images that pass from thread to thread at once, rounded to whole batches; and how many such chunks wait.
CHUNK = 64
AHEAD = 2
ReportCallback = Callable[[int, int], None]
Minted = tuple[list[Address], NDArray[np.uint8]]
Chunk = tuple[list[Address], Sequence[formats.Image]]
T = TypeVar("T")


def make_shard(
    sampler: Sampler,
    target: Target,
    spec: ExportSpec,
    shard: Shard,
    report: ReportCallback | None = None,
    use_all_cores: bool = False,
    signing_key: SigningKey | None = None,
) -> ShardCommit:
    """Mint a shard, publish it, commit it.

    Args:
        sampler, target, spec, shard: what is made, and where.
        report: is called with images and bytes as they are written.
        use_all_cores: whether minting may use every core, if that changes no bit; not where other workers do.
        signing_key: for Content Credentials, which a spec with a signer asks for.
    Raises: ExportError; then the shard is not committed.
    """
    context = ExportContext(spec, sampler.manifest)
    signer = Signer(signing_key) if signing_key else None
    images_of_class = np.zeros(len(sampler.manifest.class_names), np.int64)
    with target.draft(shard.name) as draft:
        writer = formats.create_writer(draft, context, shard)
        written = 0
        minted = run_ahead(_mint(sampler, context, shard, use_all_cores))
        for addresses, files in run_ahead(_encode(minted, context, signer)):
            writer.add(addresses, files)
            for address in addresses:
                if address.label is not None:
                    images_of_class[address.label] += 1
            if report:
                report(len(addresses), draft.written() - written)
            written = draft.written()
        writer.close()
    if report:
        # What the writer wrote when it was closed.
        report(0, sum(part.bytes for part in draft.parts.values()) - written)
    commit = ShardCommit(
        number=shard.number,
        first=shard.first,
        count=shard.count,
        job=state.spec_digest(spec),
        labels=tuple(images_of_class.tolist()),
        fingerprint=sampler.fingerprint,
        parts=draft.parts,
    )
    state.write_commit(target, commit)
    return commit


def _mint(sampler: Sampler, context: ExportContext, shard: Shard, use_all_cores: bool) -> Generator[Minted, None, None]:
    size = -(-CHUNK // sampler.batch_size) * sampler.batch_size
    for first, n in chunks(shard, size):
        addresses = context.addresses(first, n)
        yield addresses, sampler.mint(addresses, use_all_cores)


def _encode(
    minted: Generator[Minted, None, None], context: ExportContext, signer: Signer | None
) -> Generator[Chunk, None, None]:
    image_format = context.spec.image_format
    for addresses, pixels in minted:
        if image_format is None:
            yield addresses, list(pixels)
            continue
        media_type = images.EXTENSIONS[image_format]
        files = [images.encode(image, media_type, str(a)) for image, a in zip(pixels, addresses)]
        if signer:
            files = [_sign(signer, file, media_type, a, context.manifest) for file, a in zip(files, addresses)]
        yield addresses, files


def _sign(signer: Signer, file: bytes, media_type: images.MediaType, address: Address, manifest: Manifest) -> bytes:
    try:
        return signer.sign_image(file, media_type, address, manifest)
    except FileError as error:
        raise ExportError(error.path, error.reason) from None


def run_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """Yield the same items, made in a thread of their own, at most AHEAD of them before they are asked for."""
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
