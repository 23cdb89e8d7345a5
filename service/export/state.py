"""Read and write what an export's target says of itself: its spec, its model's manifest, its committed shards.

In this order: the model's manifest and the spec first, then a shard's files, the shard's commit marker last.

    .ganmint/model.json          the model's manifest.json
    .ganmint/job.json            what is exported
    .ganmint/shards/00000.json   a commit marker: the shard's parts and their digests
    manifest.json                the whole export; removed while shards are being made, written when all are there
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from models.base import Record, describe_first_problem
from models.errors import ExportError
from models.manifest import MANIFEST_FILE, Manifest
from service.export.drafts import PRIVATE
from service.export.parts import Part
from service.export.plan import ExportContext, ExportSpec, Shard, find_differences
from service.export.target import Target

SPEC_FILE = f"{PRIVATE}/job.json"
MODEL_FILE = f"{PRIVATE}/model.json"
SHARDS_DIR = f"{PRIVATE}/shards"
# Its presence says that the export is whole.
WHOLE_FILE = "manifest.json"


class ShardCommit(Record):
    """A shard that is complete.

    Attributes:
        number, first, count: the shard.
        job: digest of what its bytes depend on.
        labels: images of each class, in label order; empty if unconditional.
        fingerprint: what its bytes are promised within.
        parts: its files and folders.
    """

    first_fields = frozenset({"number", "first", "count", "job", "labels", "fingerprint", "parts"})
    number: int
    first: int
    count: int
    job: str
    labels: tuple[int, ...]
    fingerprint: str
    parts: dict[str, Part]

    @property
    def bytes(self) -> int:
        """The size of all parts."""
        return sum(part.bytes for part in self.parts.values())


def spec_digest(spec: ExportSpec) -> str:
    """Return a digest of what a shard's bytes depend on; the number of images in all is no part of it."""
    return hashlib.sha256(spec.model_dump_json(exclude={"counts"}).encode()).hexdigest()


def find_spec(target: Target) -> ExportSpec | None:
    """Return the spec of the export at the target; None when there is none.

    Raises: ExportError when job.json is damaged.
    """
    data = target.read(SPEC_FILE)
    try:
        return None if data is None else ExportSpec.model_validate_json(data)
    except ValidationError as error:
        raise ExportError(
            target.url_of(SPEC_FILE), f"does not describe an export: {describe_first_problem(error)}"
        ) from None


def read_context(target: Target) -> ExportContext:
    """Return the spec of the export at the target and the manifest of its model.

    Raises: ExportError when either is missing or damaged.
    """
    spec = find_spec(target)
    model = target.read(MODEL_FILE)
    if spec is None or model is None:
        raise ExportError(target.url, "holds no export; ganmint export MODEL --out makes one")
    if hashlib.sha256(model).hexdigest() != spec.model_digest:
        raise ExportError(target.url_of(MODEL_FILE), "is not the manifest of the model that job.json names")
    return ExportContext(spec, Manifest.model_validate_json(model))


def resolve_spec(target: Target, requested: ExportSpec) -> tuple[ExportSpec, list[str]]:
    """Return the spec to export and notes for the user: a new export, the existing one, or that one extended.

    Writes nothing.
    Raises: ExportError when the target holds something else.
    """
    # In this order: another process starting the same export writes job.json before anything else.
    is_occupied = target.exists_with_files()
    existing = find_spec(target)
    if existing is None:
        if is_occupied:
            raise ExportError(target.url, "is not empty and holds no export; give a new or empty folder")
        return requested, []
    if differences := find_differences(existing, requested):
        raise ExportError(
            target.url, f"holds another export: {'; '.join(differences)}. Give another --out, or the same options"
        )
    spec = existing.extend(requested.count)
    notes = [f"extending {existing.count} images to {spec.count}"] if spec.count > existing.count else []
    return spec, notes


def write_header(target: Target, spec: ExportSpec, model_dir: Path) -> None:
    """Write the spec and its model's manifest, from an artifact folder, where they are not there already.

    Raises: ExportError when another export has begun here, or has extended this one, since the spec was resolved.
    """
    if target.read(MODEL_FILE) is None:
        target.create(MODEL_FILE, (model_dir / MANIFEST_FILE).read_bytes())
    if find_spec(target) is None:
        target.create(SPEC_FILE, encode_spec(spec))
    existing = find_spec(target)
    if existing == spec:
        return
    if existing is None or find_differences(existing, spec):
        raise ExportError(target.url, "another export has begun here at the same time; give another --out")
    if existing.count > spec.count or existing.extend(spec.count) != spec:
        raise ExportError(
            target.url,
            f"has been extended to {existing.count} images meanwhile; run this again with that --count or a larger one",
        )
    # Before the spec: the larger export is not whole.
    target.remove(WHOLE_FILE)
    target.write(SPEC_FILE, encode_spec(spec))


def encode_spec(spec: ExportSpec) -> bytes:
    """Return the content of job.json."""
    return spec.model_dump_json(indent=2).encode() + b"\n"


def write_commit(target: Target, commit: ShardCommit) -> None:
    """Write a shard's marker; the shard's files must be published already."""
    target.write(marker_name(commit.number), _to_json(commit))


def _to_json(commit: ShardCommit) -> bytes:
    return commit.model_dump_json(indent=2).encode() + b"\n"


def marker_name(number: int) -> str:
    """Return the name of a shard's commit marker."""
    return f"{SHARDS_DIR}/{number:05d}.json"


def read_commits(target: Target, spec: ExportSpec, shards: list[Shard]) -> dict[int, ShardCommit]:
    """Return the commits of these shards by number; damaged markers count as missing.

    Raises: ExportError when a marker belongs to another export.
    """
    existing = target.list(SHARDS_DIR)
    shard_of = {marker_name(s.number): s for s in shards if Path(marker_name(s.number)).name in existing}
    commits = {}
    for name, data in target.read_all(shard_of).items():
        shard = shard_of[name]
        try:
            commit = ShardCommit.model_validate_json(data)
        except ValidationError:
            continue
        is_of_shard = (commit.number, commit.first, commit.count) == (shard.number, shard.first, shard.count)
        if is_of_shard and data == _to_json(commit):
            if commit.job != spec_digest(spec):
                raise ExportError(target.url_of(name), "belongs to another export; give another --out")
            commits[shard.number] = commit
    return commits


def find_damage(target: Target, commit: ShardCommit, thorough: bool) -> str | None:
    """Return what is wrong with a committed shard, in words; None when nothing is.

    Args: thorough: read everything again and compare digests, rather than sizes.
    """
    for name, part in commit.parts.items():
        if damage := find_part_damage(target, name, part, thorough):
            return f"{name} {damage}"
    return None


def find_part_damage(target: Target, name: str, part: Part, thorough: bool) -> str | None:
    """Return what is wrong with a file or folder, in words without its name; None when nothing is.

    Args: thorough: read everything again and compare digests, rather than sizes.
    """
    files, size = target.measure(name)
    if not files:
        return "is missing"
    if (files, size) != (part.files, part.bytes):
        return f"has {files} file(s) of {size} bytes instead of {part.files} of {part.bytes}"
    if thorough and target.digest(name) != part:
        return "has changed: its sha256 is not the one that was recorded when it was written"
    return None
