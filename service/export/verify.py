"""Verify an export: compare its files with their digests, mint its images again and compare them."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import images
from models.address import Address
from models.errors import ExportError
from models.goldens import GOLDEN_TOLERANCE
from models.picture_file import remove_credentials
from models.sampler import Sampler
from service.export import state
from service.export.finish import MANIFEST as DATASET_MANIFEST
from service.export.parts import Part
from service.export.plan import ExportContext, ExportSpec, Shard
from service.export.readers import StoredImage, read_images
from service.export.target import Target

# What a user does about a damaged file: finish takes the marker of its shard away, and the export makes it again.
REMEDY = "run ganmint dataset finish {url}, then the export again, which makes it anew"


def check_files(target: Target, spec: ExportSpec, has_digests: bool = True) -> int:
    """Compare every committed file with its recorded size and digest; return the number of files.

    Args: has_digests: read every byte; otherwise compare sizes only.
    Raises: ExportError naming the file that is missing or changed.
    """
    parts: dict[str, Part] = {}
    for commit in state.read_commits(target, spec, spec.shards()).values():
        parts |= commit.parts
    manifest = json.loads(target.read(DATASET_MANIFEST) or b"{}")
    parts |= {name: Part.model_validate(part) for name, part in manifest.get("files", {}).items()}
    for name, part in parts.items():
        if damage := state.find_part_damage(target, name, part, has_digests):
            raise ExportError(target.url_of(name), f"{damage}; {REMEDY.format(url=target.url)}")
    return sum(part.files for part in parts.values())


@dataclass
class VerifyResult:
    """How many images were compared, and how many of them only come close; by how much at most."""

    images: int = 0
    close: int = 0
    worst: int = 0


def draw_positions(spec: ExportSpec, sample: int | None) -> list[int]:
    """Return the positions to verify: all, or this many drawn at random; the same ones each time."""
    if sample is None or sample >= spec.count:
        return list(range(spec.count))
    return sorted(random.Random(state.spec_digest(spec)).sample(range(spec.count), sample))


def verify(
    target: Target, spec: ExportSpec, sampler: Sampler, sample: int | None, report: Callable[[int], None] | None = None
) -> VerifyResult:
    """Mint images of an export again from their addresses and compare.

    Files must be equal byte by byte, Content Credentials left out; on another runtime fingerprint than the shard's,
    pixels may be off by 1 of 255.
    Raises: ExportError naming the first image that differs, or a shard that is not committed.
    """
    context = ExportContext(spec, sampler.manifest)
    shards = spec.shards()
    commits = state.read_commits(target, spec, shards)
    result = VerifyResult()
    positions = draw_positions(spec, sample)
    start = 0
    for shard in shards:
        end = start
        while end < len(positions) and positions[end] < shard.first + shard.count:
            end += 1
        if end == start:
            continue
        if shard.number not in commits:
            raise ExportError(target.url, f"shard {shard.number} is not committed; run the export again")
        comparison = _Comparison(context, sampler, commits[shard.number].fingerprint, result, report)
        comparison.compare_shard(target, shard, positions[start:end])
        start = end
    return result


class _Comparison:
    """Compare the stored images of a shard with those that are minted here.

    Args:
        fingerprint: of the machine that made the shard.
        result: is counted up.
        report: is called with the number of images that were compared.
    """

    def __init__(
        self,
        context: ExportContext,
        sampler: Sampler,
        fingerprint: str,
        result: VerifyResult,
        report: Callable[[int], None] | None,
    ) -> None:
        self._context = context
        self._sampler = sampler
        self._is_same_machine = fingerprint == sampler.fingerprint
        self._result = result
        self._report = report

    def compare_shard(self, target: Target, shard: Shard, positions: list[int]) -> None:
        pending: list[tuple[StoredImage, Address]] = []
        for position, image in zip(positions, read_images(target, self._context, shard, positions)):
            pending.append((image, self._check_address(image, position)))
            if len(pending) == 4 * self._sampler.batch_size:
                self._compare(pending)
                pending = []
        self._compare(pending)

    def _compare(self, pending: list[tuple[StoredImage, Address]]) -> None:
        minted = self._sampler.mint([address for _, address in pending])
        for (image, address), pixels in zip(pending, minted):
            is_equal, off = _difference(image, address, pixels, self._context.spec)
            if not is_equal and (self._is_same_machine or off > GOLDEN_TOLERANCE):
                raise ExportError(image.where, f"is not what {address} mints: {_words(off)}")
            self._result.images += 1
            self._result.close += not is_equal
            self._result.worst = max(self._result.worst, off)
        if self._report:
            self._report(len(pending))

    def _check_address(self, image: StoredImage, position: int) -> Address:
        """Return the address that the image carries, which must be the one at its place in the export."""
        manifest = self._context.manifest
        (planned,) = self._context.addresses(position, 1)
        carried = planned if image.address is None else manifest.parse_address(image.address)
        if carried != planned:
            raise ExportError(image.where, f"carries the address {carried}, but {planned} belongs there")
        if image.label != carried.label:
            raise ExportError(image.where, f"has the label {image.label}, but its address says {carried.label}")
        return carried


def _difference(stored: StoredImage, address: Address, pixels: NDArray[np.uint8], spec: ExportSpec) -> tuple[bool, int]:
    """Return whether the image is byte for byte what is minted here, and the largest difference of two pixels."""
    if isinstance(stored.image, bytes):
        assert spec.image_format is not None
        file = images.encode(pixels, images.EXTENSIONS[spec.image_format], str(address))
        image = _remove_credentials(stored) if spec.c2pa_signer else stored.image
        if image == file:
            return True, 0
        stored_pixels = _decode(stored.image)
        pixels = _decode(file)
    else:
        stored_pixels = stored.image
        if np.array_equal(stored_pixels, pixels):
            return True, 0
    if stored_pixels.shape != pixels.shape:
        return False, 255
    return False, int(np.abs(stored_pixels.astype(np.int16) - pixels).max())


def _remove_credentials(stored: StoredImage) -> bytes:
    assert isinstance(stored.image, bytes)
    bare = remove_credentials(stored.image)
    if bare == stored.image:
        raise ExportError(stored.where, "has no Content Credentials, but its export was signed")
    return bare


def _words(off: int) -> str:
    return f"off by up to {off} of 255" if off else "the same pixels in another file"


def _decode(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture)
