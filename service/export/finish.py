"""The last step of an export: prove that every shard is whole, then write what people and tools read first.

Knows: README.md, croissant.json, manifest.json (last, so that its presence says that the export is whole),
and, for idx, MNIST's own files made of the shards' parts; when all shards are there. No timestamps:
finishing again changes nothing. Does not know: how shards are made.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from models.errors import ExportError
from models.manifest import Manifest
from service.export import dataset_card, formats, state
from service.export.plan import ExportSpec, ranges
from service.export.reading import idx_files
from service.export.state import Commit
from service.export.target import Draft, HashingWriter, Part, Target

README, CROISSANT, MANIFEST = "README.md", "croissant.json", "manifest.json"
CHUNK_BYTES = 1 << 20


def finish(target: Target, thorough: bool) -> dict[str, Any]:
    """Check all shards and write the export's face; returns the content of manifest.json.

    Args: thorough: read every byte again rather than look at sizes.
    Raises: ExportError naming the shards that are missing or damaged.
    """
    job, model = state.read_job(target)
    commits = whole(target, job, thorough)
    target.tidy()
    if not thorough and (done := _finished(target, job, model, commits)):
        return done
    files = _assemble_idx(target, job, model) if job.format == "idx" else _files(commits)
    manifest = _manifest(job, model, commits, files)
    target.write(README, dataset_card.readme(job, model, manifest).encode())
    target.write(CROISSANT, _json(dataset_card.croissant(job, model, manifest)))
    target.write(MANIFEST, _json(manifest))
    return manifest


def wait(target: Target, count: int, timeout_s: float, poll_s: float, say: Callable[[str], None]) -> None:
    """Return when every shard of an export of at least `count` images is committed.

    Looks again every `poll_s`, and says how far it is when that has changed.
    Raises: ExportError naming what is missing after `timeout_s`.
    """
    deadline, said = time.monotonic() + timeout_s, ""
    while (missing := _missing(target, count)) and time.monotonic() < deadline:
        if missing != said:
            say(f"waiting: {missing}")
        said = missing
        time.sleep(min(poll_s, max(0.0, deadline - time.monotonic())))
    if missing:
        raise ExportError(target.url, f"after {timeout_s:g} s, {missing}")


def _missing(target: Target, count: int) -> str:
    """What is not there yet, in words."""
    # Whoever comes first writes the model, then the job.
    if state.find_job(target) is None or target.read(state.MODEL) is None:
        return "no export has begun here"
    job, _ = state.read_job(target)
    if job.count < count:
        # Its extension has not begun.
        return f"the export here has {job.count} images instead of {count}"
    shards = job.shards()
    missing = {s.number for s in shards} - state.commits(target, job, shards).keys()
    return f"{len(missing)} of {len(shards)} shards are not committed" if missing else ""


def _finished(target: Target, job: ExportSpec, model: Manifest, commits: Sequence[Commit]) -> dict[str, Any] | None:
    """manifest.json, if this export has been finished already and its files are there."""
    data = target.read(MANIFEST)
    try:
        written: dict[str, Any] = json.loads(data or b"{}")
    except ValueError:
        return None
    wanted = {"job": job.model_dump(mode="json"), "shards": _shards(commits)}
    if data != _json(written) or any(written.get(name) != value for name, value in wanted.items()):
        return None
    if target.read(README) != dataset_card.readme(job, model, written).encode():
        return None
    if target.read(CROISSANT) != _json(dataset_card.croissant(job, model, written)):
        return None
    sizes = {name: (part["files"], part["bytes"]) for name, part in written["files"].items()}
    return written if all(target.measure(name) == size for name, size in sizes.items()) else None


def _shards(commits: Sequence[Commit]) -> list[dict[str, Any]]:
    return [made.model_dump(mode="json", exclude={"job", "labels"}) for made in commits]


def whole(target: Target, job: ExportSpec, thorough: bool) -> list[Commit]:
    """The commits of all shards.

    Raises: ExportError naming the shards that are missing or damaged.
    """
    shards = job.shards()
    commits = state.commits(target, job, shards)
    if missing := [s.number for s in shards if s.number not in commits]:
        raise ExportError(
            target.url,
            f"{len(missing)} of {len(shards)} shards are not committed: {ranges(missing)}; run the export again",
        )
    for number in range(len(shards)):
        if wrong := state.damage(target, commits[number], thorough):
            # Without its marker, the next run makes the shard again.
            target.remove(state.marker(number))
            raise ExportError(
                target.url, f"shard {number} is damaged: {wrong}; run the export again, it will be made anew"
            )
    return [commits[number] for number in range(len(shards))]


def _files(commits: Sequence[Commit]) -> dict[str, Part]:
    return {name: part for made in commits for name, part in made.parts.items()}


def _manifest(job: ExportSpec, model: Manifest, commits: Sequence[Commit], files: dict[str, Part]) -> dict[str, Any]:
    labels = [sum(counts) for counts in zip(*(made.labels for made in commits))]
    return {
        "schema_version": 1,
        "synthetic": True,
        "ganmint": version("ganmint"),
        "job": job.model_dump(mode="json"),
        "model": {"name": model.name, "version": model.version, "digest": job.model_digest, "licence": model.licence},
        "images": job.count,
        "labels": [{"label": k, "name": model.class_names[k], "images": count} for k, count in enumerate(labels)],
        "bytes": sum(part.bytes for part in files.values()),
        "files": {name: part.model_dump() for name, part in files.items()},
        "fingerprints": sorted({made.fingerprint for made in commits}),
        "shards": _shards(commits),
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _assemble_idx(target: Target, job: ExportSpec, model: Manifest) -> dict[str, Part]:
    """MNIST's files, plain and gzipped: some loaders take the one, some the other.

    The layout: http://yann.lecun.com/exdb/mnist, "the IDX file format": magic, sizes, bytes; big-endian.
    """
    images, labels = idx_files(job)
    headers = {
        images: struct.pack(">4I", 0x00000803, job.count, model.image.height, model.image.width),
        labels: struct.pack(">2I", 0x00000801, job.count),
    }
    with target.draft("idx") as draft:
        for kind, (name, header) in enumerate(headers.items()):
            _assemble(target, draft, name, header, [formats.idx_parts(shard)[kind] for shard in job.shards()])
    return draft.parts


def _assemble(target: Target, draft: Draft, name: str, header: bytes, parts: Sequence[str]) -> None:
    plain: HashingWriter = draft.create(name)
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=draft.create(f"{name}.gz"), mtime=0) as packed:
        plain.write(header)
        packed.write(header)
        for part in parts:
            with target.open(part) as file, gzip.open(file) as content:
                while chunk := content.read(CHUNK_BYTES):
                    plain.write(chunk)
                    packed.write(chunk)
