"""What an export's target says of itself: its job, its model's card, and which shards are committed.

Knows: the hidden folder's files and their order of writing: the job first, a shard's files, its commit
marker last. Does not know: how a shard's bytes come.

    .ganmint/model.json          the model's manifest.json
    .ganmint/job.json            what is exported
    .ganmint/shards/00000.json   a commit marker: the shard's parts and their digests
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from models.base import Frozen, describe_first_problem
from models.errors import ExportError
from models.manifest import MANIFEST_FILE, Manifest
from service.export.plan import ExportSpec, Shard, differences
from service.export.target import PRIVATE, Part, Target

JOB, MODEL, SHARDS = f"{PRIVATE}/job.json", f"{PRIVATE}/model.json", f"{PRIVATE}/shards"


class Commit(Frozen):
    """A shard that is whole.

    Attributes:
        number, first, count: the shard.
        job: digest of what its bytes depend on.
        labels: images of each class, in label order; empty if unconditional.
        fingerprint: what its bytes are promised within.
        parts: its files and folders.
    """

    number: int
    first: int
    count: int
    job: str
    labels: tuple[int, ...]
    fingerprint: str
    parts: dict[str, Part]

    @property
    def bytes(self) -> int:
        """Of all parts."""
        return sum(part.bytes for part in self.parts.values())


def identity(job: ExportSpec) -> str:
    """A digest of what a shard's bytes depend on; how many images there are in all is no part of it."""
    return hashlib.sha256(job.model_dump_json(exclude={"counts"}).encode()).hexdigest()


def find_job(target: Target) -> ExportSpec | None:
    """The job of the export at the target; None when there is none.

    Raises: ExportError when job.json is no job.
    """
    data = target.read(JOB)
    try:
        return None if data is None else ExportSpec.model_validate_json(data)
    except ValidationError as error:
        raise ExportError(target.sibling(JOB), f"is no export's job: {describe_first_problem(error)}") from None


def read_job(target: Target) -> tuple[ExportSpec, Manifest]:
    """The job at the target and the model's card.

    Raises: ExportError when either is missing or damaged.
    """
    job, card = find_job(target), target.read(MODEL)
    if job is None or card is None:
        raise ExportError(target.url, "holds no export; ganmint export MODEL --out makes one")
    if hashlib.sha256(card).hexdigest() != job.model_digest:
        raise ExportError(target.sibling(MODEL), "is not the card of the model that job.json names")
    return job, Manifest.model_validate_json(card)


def settle(target: Target, wanted: ExportSpec) -> tuple[ExportSpec, list[str]]:
    """The job to do at the target, and what to tell: a new one, the one that is there, or that one extended.

    Writes nothing. Raises: ExportError when the target holds something else.
    """
    # In this order: another process starting the same export writes job.json before anything else.
    occupied, there = target.exists_with_files(), find_job(target)
    if there is None:
        if occupied:
            raise ExportError(target.url, "is not empty and holds no export; give a new or empty folder")
        return wanted, []
    if different := differences(there, wanted):
        raise ExportError(
            target.url, f"holds another export: {'; '.join(different)}. Give another --out, or the same options"
        )
    job = there.extended(wanted.count)
    return job, [f"extending {there.count} images to {job.count}"] if job.count > there.count else []


def begin(target: Target, job: ExportSpec, folder: Path) -> None:
    """Write the job and the card of its model (an artifact folder) where they are not there already."""
    if target.read(MODEL) is None:
        target.write(MODEL, (folder / MANIFEST_FILE).read_bytes())
    if find_job(target) != job:
        target.write(JOB, job.model_dump_json(indent=2).encode() + b"\n")
        # Two different exports may have begun here at the same time: the last one has it.
        if (there := find_job(target)) is None or differences(there, job):
            raise ExportError(target.url, "another export has begun here at the same time; give another --out")


def commit(target: Target, made: Commit) -> None:
    """Write a shard's marker; the shard's files are published already."""
    target.write(marker(made.number), _dump(made))


def _dump(made: Commit) -> bytes:
    return made.model_dump_json(indent=2).encode() + b"\n"


def marker(number: int) -> str:
    """The name of a shard's commit marker."""
    return f"{SHARDS}/{number:05d}.json"


def commits(target: Target, job: ExportSpec, shards: list[Shard]) -> dict[int, Commit]:
    """The markers of these shards that say what they should, by number; damaged ones count as missing."""
    there = target.list(SHARDS)
    names = {marker(s.number): s for s in shards if Path(marker(s.number)).name in there}
    found = {}
    for name, data in target.read_all(names).items():
        shard = names[name]
        try:
            made = Commit.model_validate_json(data)
        except ValidationError:
            continue
        if (made.number, made.first, made.count) == (shard.number, shard.first, shard.count) and data == _dump(made):
            if made.job != identity(job):
                raise ExportError(target.sibling(name), "belongs to another export; give another --out")
            found[shard.number] = made
    return found


def damage(target: Target, made: Commit, thorough: bool) -> str | None:
    """What is wrong with a committed shard, in words; None when all is well.

    Args: thorough: read everything again and compare digests, rather than sizes.
    """
    for name, part in made.parts.items():
        files, size = target.measure(name)
        if not files:
            return f"{name} is missing"
        if (files, size) != (part.files, part.bytes):
            return f"{name} has {files} file(s) of {size} bytes instead of {part.files} of {part.bytes}"
        if thorough and target.digest(name) != part:
            return f"{name} does not have the digest that its marker names"
    return None
