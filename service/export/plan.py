"""Plan an export: every choice that its bytes depend on, and the shards that follow from them.

Pure: the same spec gives the same shards anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import Field

from models.address import Address
from models.base import Record
from models.errors import InputError
from models.manifest import Manifest
from models.walk import plan_walk

Format = Literal["imagefolder", "webdataset", "parquet", "npz", "idx"]
FORMATS: tuple[Format, ...] = get_args(Format)
# These hold bare pixels, the others picture files.
PIXEL_FORMATS: tuple[Format, ...] = ("npz", "idx")
ImageFormat = Literal["png", "jpg", "webp"]
Split = Literal["train", "test"]
# File systems and their tools slow down, and the Hugging Face hub refuses, above this many files in a folder.
MAX_FOLDER_FILES = 10_000
# A generous bound on what has to be listed and kept at once.
MAX_SHARDS = 100_000
# Images in a shard, where the user does not say.
SHARD_SIZE = 10_000


class ExportSpec(Record):
    """Everything that an export's bytes depend on, besides the runtime fingerprint.

    Attributes:
        model, version, model_digest: the generator, down to the sha256 of its manifest.
        seed, index: of the first image; the others have the following indexes.
        counts: how many images; where the export was extended within a shard, the earlier counts, too.
        labels: a class, "balanced" (index modulo the number of classes), or None: drawn from the seed.
        image_format: of the picture files; None where the format holds pixels.
        shard_size: images in a shard, at most.
        walk: instead of seed, index, labels and psi, the addresses of the stops of a walk; the images are its steps.
        loop: whether the walk leads back to its first stop.
        c2pa_signer: whom the certificate of the Content Credentials names; None where files have none. Signatures have
            a random part: the bytes of these depend on more than the spec.
    """

    first_fields = frozenset(
        {"schema_version", "model", "version", "model_digest", "seed", "index", "counts", "labels", "psi"}
        | {"format", "image_format", "shard_size", "split"}
    )
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
    c2pa_signer: str | None = None
    walk: tuple[str, ...] = ()
    loop: bool = False

    @property
    def count(self) -> int:
        """The number of images."""
        return self.counts[-1]

    def shards(self) -> list[Shard]:
        """Return every shard, in order."""
        cuts = sorted({*range(0, self.count, self.shard_size), *self.counts})
        return [Shard(number, first, end - first) for number, (first, end) in enumerate(pairwise(cuts))]

    def extend(self, count: int) -> ExportSpec:
        """Return the same export with more images; existing shards stay as they are.

        Raises: InputError when it has more already, or its images depend on how many there are.
        """
        if self.walk and count != self.count:
            raise InputError(f"{count} steps of a walk are other images than the {self.count} here", "--count")
        if count < self.count:
            raise InputError(
                f"{count} is less than the {self.count} images that this export has; an export only grows", "--count"
            )
        # Forget cuts that coincide with a shard's end, so that an extended export equals one made in one go.
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
        """The number with leading zeros, so that names sort."""
        return f"{self.number:05d}"


@dataclass(frozen=True)
class ExportContext:
    """An export's spec and its model's manifest.

    Attributes:
        spec: what is exported.
        manifest: of the model that mints the images.
    """

    spec: ExportSpec
    manifest: Manifest

    def addresses(self, first: int, n: int) -> list[Address]:
        """Return the addresses of images first .. first + n - 1 of the export."""
        spec = self.spec
        if spec.walk:
            return self._steps[first : first + n]
        return self.manifest.addresses(spec.seed, spec.index + first, n, spec.labels, spec.psi)

    @cached_property
    def _steps(self) -> list[Address]:
        """All steps of the walk."""
        stops = [self.manifest.parse_address(stop) for stop in self.spec.walk]
        try:
            return plan_walk(stops, self.spec.count, self.spec.loop)
        except InputError as error:
            field = error.field.replace("frames", "--count").replace("stops", "--walk")
            raise InputError(error.reason, field) from None


def check_spec(context: ExportContext) -> None:
    """Check that the model can make this export.

    Raises: InputError naming the option at fault.
    """
    spec = context.spec
    if spec.count < 1:
        raise InputError(f"must be at least 1, got {spec.count}", "--count")
    if spec.shard_size < 1:
        raise InputError(f"must be at least 1, got {spec.shard_size}", "--shard-size")
    if (shards := -(-spec.count // spec.shard_size)) > MAX_SHARDS:
        raise InputError(
            f"makes {shards} shards of {spec.count} images; at most {MAX_SHARDS} are possible", "--shard-size"
        )
    # Checking the two ends validates the whole range.
    context.addresses(0, 1)
    context.addresses(spec.count - 1, 1)
    if spec.format == "imagefolder" and spec.shard_size > MAX_FOLDER_FILES:
        raise InputError(
            f"a shard of an imagefolder is a folder; it holds at most {MAX_FOLDER_FILES} files", "--shard-size"
        )
    if spec.format == "idx":
        _check_idx(context.manifest)


def _check_idx(manifest: Manifest) -> None:
    classes = len(manifest.class_names)
    if manifest.image.channels != 1:
        problem = "RGB images"
    elif not classes:
        problem = "no labels"
    elif classes > 256:
        problem = f"{classes} classes"
    else:
        return
    raise InputError(f"idx is MNIST's format: grey, with up to 256 classes; {manifest.name} has {problem}", "--format")


def find_differences(existing: ExportSpec, requested: ExportSpec) -> list[str]:
    """Return in words how a requested export differs from the existing one; counts are not compared."""
    options = {
        "model": "MODEL",
        "version": "MODEL's version",
        "model_digest": "the model's digest",
        "c2pa_signer": "the signer that --c2pa-cert names",
    }
    differences = []
    for name in ExportSpec.model_fields:
        a = getattr(existing, name)
        b = getattr(requested, name)
        if name not in ("counts", "schema_version") and a != b:
            option = options.get(name, f"--{name.replace('_', '-')}")
            differences.append(f"{option} is {_word(a)} there, {_word(b)} here")
    return differences


def _word(value: object) -> str:
    return "not set" if value is None else str(value)


def parse_group(text: str) -> tuple[int, int]:
    """Return I/N as numbers, 0 <= I < N: this process makes every shard whose number modulo N is I.

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


def select_group(shards: Sequence[Shard], part: int, parts: int) -> list[Shard]:
    """Return the shards of group `part` of `parts`."""
    return [shard for shard in shards if shard.number % parts == part]


def chunks(shard: Shard, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, n) of consecutive pieces of a shard."""
    for start in range(0, shard.count, size):
        yield shard.first + start, min(size, shard.count - start)


def format_ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers in short: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
