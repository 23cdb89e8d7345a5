"""The plan of an export: a job, and the shards that follow from it.

Knows: every choice that the bytes of an export depend on, how the images divide into shards, and in
which words two jobs differ. Pure: the same job gives the same shards anywhere. Does not know: files,
formats' bytes, workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import Field

from models.address import Address
from models.base import Frozen
from models.errors import InputError
from models.manifest import Manifest

Format = Literal["imagefolder", "webdataset", "parquet", "npz", "idx"]
FORMATS: tuple[Format, ...] = get_args(Format)
# These hold bare pixels, the others picture files.
PIXEL_FORMATS: tuple[Format, ...] = ("npz", "idx")
ImageFormat = Literal["png", "jpg", "webp"]
Split = Literal["train", "test"]
# File systems and their tools slow down, and the Hugging Face hub refuses, above this many files in a folder.
LARGEST_FOLDER = 10_000
# A generous bound on what has to be listed and kept at once.
MOST_SHARDS = 100_000
# Images in a shard, where the user does not say.
SHARD_SIZE = 10_000


class ExportSpec(Frozen):
    """Everything that an export's bytes depend on, besides the runtime fingerprint.

    Attributes:
        model, version, model_digest: the generator, down to the sha256 of its manifest.
        seed, index: of the first image; the others have the following indices.
        counts: how many images; where the export was extended within a shard, the earlier counts, too.
        labels: a class, "balanced" (index modulo the number of classes), or None: drawn from the seed.
        image_format: of the picture files; None where the format holds pixels.
        shard_size: images in a shard, at most.
    """

    schema_version: Literal[1] = 1
    model: str
    version: str
    model_digest: str
    seed: int
    index: int = 0
    counts: Annotated[tuple[int, ...], Field(min_length=1)]
    labels: int | Literal["balanced"] | None = None
    psi: float = 1.0
    format: Format
    image_format: ImageFormat | None
    shard_size: int
    split: Split = "train"

    @property
    def count(self) -> int:
        """How many images."""
        return self.counts[-1]

    def shards(self) -> list[Shard]:
        """Every shard, in order."""
        cuts = sorted({*range(0, self.count, self.shard_size), *self.counts})
        return [Shard(number, first, end - first) for number, (first, end) in enumerate(pairwise(cuts))]

    def addresses(self, card: Manifest, first: int, n: int) -> list[Address]:
        """The addresses of images first .. first + n - 1 of the export."""
        return card.addresses(self.seed, self.index + first, n, self.labels, self.psi)

    def extended(self, count: int) -> ExportSpec:
        """The same export with more images; the shards that there are stay as they are.

        Raises: InputError when there are more already.
        """
        if count < self.count:
            raise InputError(
                f"{count} is less than the {self.count} images that this export has; an export only grows", "--count"
            )
        # A cut that falls on a shard's end anyway leaves no trace: growing gives the tree of doing it at once.
        cuts = {c for c in self.counts if c % self.shard_size and c < count}
        return self.model_copy(update={"counts": (*sorted(cuts), count)})


@dataclass(frozen=True)
class Shard:
    """Images first .. first + count - 1 of an export."""

    number: int
    first: int
    count: int

    @property
    def name(self) -> str:
        """Its number, so that names sort."""
        return f"{self.number:05d}"


def check(job: ExportSpec, card: Manifest) -> ExportSpec:
    """The job itself, if this model can do it.

    Raises: InputError naming the option at fault.
    """
    if job.count < 1:
        raise InputError(f"must be at least 1, got {job.count}", "--count")
    if job.shard_size < 1:
        raise InputError(f"must be at least 1, got {job.shard_size}", "--shard-size")
    if (shards := -(-job.count // job.shard_size)) > MOST_SHARDS:
        raise InputError(f"makes {shards} shards of {job.count} images; at most {MOST_SHARDS} go", "--shard-size")
    # Both ends stand for the range.
    job.addresses(card, 0, 1)
    job.addresses(card, job.count - 1, 1)
    if job.format == "imagefolder" and job.shard_size > LARGEST_FOLDER:
        raise InputError(
            f"a shard of an imagefolder is a folder; it holds at most {LARGEST_FOLDER} files", "--shard-size"
        )
    if job.format == "idx":
        _check_idx(card)
    return job


def _check_idx(card: Manifest) -> None:
    wrong = (
        "RGB images" if card.image.channels != 1
        else "no labels" if not card.class_names
        else f"{len(card.class_names)} classes" if len(card.class_names) > 256
        else None
    )  # fmt: skip
    if wrong:
        raise InputError(f"idx is MNIST's format: grey, with up to 256 classes; {card.name} has {wrong}", "--format")


def differences(there: ExportSpec, wanted: ExportSpec) -> list[str]:
    """In words, how a wanted job differs from the one that a target holds; counts are not compared."""
    found = []
    for name in ExportSpec.model_fields:
        a, b = getattr(there, name), getattr(wanted, name)
        if name not in ("counts", "schema_version") and a != b:
            option = {"model": "MODEL", "version": "MODEL's version", "model_digest": "the model's digest"}.get(
                name, f"--{name.replace('_', '-')}"
            )
            found.append(f"{option} is {_word(a)} there, {_word(b)} here")
    return found


def _word(value: object) -> str:
    return "not set" if value is None else str(value)


def parse_group(text: str) -> tuple[int, int]:
    """I/N as numbers, 0 <= I < N: this process makes every shard whose number modulo N is I.

    Raises: InputError.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not part < parts:
        raise InputError(
            f"must be I/N with I from 0 to N - 1, such as 0/16 to 15/16 (a Kubernetes completion index), got {text!r}",
            "--shard",
        )
    return part, parts


def group(shards: Sequence[Shard], part: int, parts: int) -> list[Shard]:
    """The shards of group `part` of `parts`."""
    return [shard for shard in shards if shard.number % parts == part]


def chunks(shard: Shard, size: int) -> Iterator[tuple[int, int]]:
    """(first, n) of consecutive pieces of a shard."""
    for start in range(0, shard.count, size):
        yield shard.first + start, min(size, shard.count - start)


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers in short: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
