"""Proving that an export is what its addresses say.

Knows: how images are drawn for a check, minted again from the addresses that they carry, and compared.
Does not know: how formats are read.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import images
from models.address import Address
from models.artifact import GOLDEN_TOLERANCE
from models.errors import ExportError
from models.sampler import Sampler
from service.export import state
from service.export.plan import ExportSpec, Shard
from service.export.reading import Found, read
from service.export.target import Target


@dataclass
class VerifyResult:
    """How many images were compared, and how many of them only come close; by how much at most."""

    images: int = 0
    close: int = 0
    worst: int = 0


def drawn(job: ExportSpec, sample: int | None) -> list[int]:
    """The positions to check: all, or so many drawn; the same ones each time."""
    if sample is None or sample >= job.count:
        return list(range(job.count))
    return sorted(random.Random(state.identity(job)).sample(range(job.count), sample))


def verify(
    target: Target, job: ExportSpec, sampler: Sampler, sample: int | None, report: Callable[[int], None] | None = None
) -> VerifyResult:
    """Mint images of an export again from their addresses and compare.

    Files must be equal byte by byte; on another runtime fingerprint than the shard's, pixels may be off by
    1 of 255.
    Raises: ExportError naming the first image at fault, or the shards that are not committed.
    """
    shards = job.shards()
    commits = state.commits(target, job, shards)
    outcome, positions = VerifyResult(), drawn(job, sample)
    at = 0
    for shard in shards:
        end = at
        while end < len(positions) and positions[end] < shard.first + shard.count:
            end += 1
        wanted, at = positions[at:end], end
        if not wanted:
            continue
        if shard.number not in commits:
            raise ExportError(target.url, f"shard {shard.number} is not committed; run the export again")
        same = commits[shard.number].fingerprint == sampler.fingerprint
        _compare_shard(target, job, sampler, shard, wanted, same, outcome, report)
    return outcome


def _compare_shard(
    target: Target,
    job: ExportSpec,
    sampler: Sampler,
    shard: Shard,
    wanted: list[int],
    same: bool,
    outcome: VerifyResult,
    report: Callable[[int], None] | None,
) -> None:
    pending: list[tuple[Found, Address]] = []

    def flush() -> None:
        minted = sampler.mint([address for _, address in pending])
        for (found, address), pixels in zip(pending, minted):
            equal, off = _difference(found, address, pixels, job)
            if not equal and (same or off > GOLDEN_TOLERANCE):
                raise ExportError(found.where, f"is not what {address} mints: {_words(off)}")
            outcome.images += 1
            outcome.close += not equal
            outcome.worst = max(outcome.worst, off)
        if report:
            report(len(pending))
        pending.clear()

    for k, found in zip(wanted, read(target, job, sampler.manifest, shard, wanted)):
        pending.append((found, _address(found, job, sampler, k)))
        if len(pending) == 4 * sampler.batch_size:
            flush()
    flush()


def _address(found: Found, job: ExportSpec, sampler: Sampler, k: int) -> Address:
    """The address that the image carries, which must be the one at its place in the export."""
    (planned,) = job.addresses(sampler.manifest, k, 1)
    carried = planned if found.address is None else sampler.manifest.check(Address.parse(found.address))
    if carried != planned:
        raise ExportError(found.where, f"carries the address {carried}, but {planned} belongs there")
    if found.label != carried.label:
        raise ExportError(found.where, f"has the label {found.label}, but its address says {carried.label}")
    return carried


def _difference(found: Found, address: Address, pixels: NDArray[np.uint8], job: ExportSpec) -> tuple[bool, int]:
    """Whether the image is byte for byte what is minted here, and the largest difference of two pixels."""
    if isinstance(found.image, bytes):
        assert job.image_format is not None
        file = images.encode(pixels, images.EXTENSIONS[job.image_format], str(address))
        there, here = _decoded(found.image), _decoded(file)
        equal = found.image == file
    else:
        there, here = found.image, pixels
        equal = bool((there == here).all())
    if equal:
        return True, 0
    return False, int(np.abs(there.astype(np.int16) - here).max()) if there.shape == here.shape else 255


def _words(off: int) -> str:
    return f"off by up to {off} of 255" if off else "the same pixels in another file"


def _decoded(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture)
