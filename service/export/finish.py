"""Finish an export: check every shard, then write what people and tools read first.

These are README.md, croissant.json, manifest.json (last, so that its presence says that the export is complete), and
for idx MNIST's own files, assembled from the shards' parts. There are no timestamps: finishing again changes nothing.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from models.errors import ExportError
from service.export import dataset_card, formats, state
from service.export.drafts import Draft, HashingWriter
from service.export.parts import Part
from service.export.plan import ExportContext, ExportSpec, format_ranges
from service.export.readers import idx_files
from service.export.run import Echo
from service.export.state import ShardCommit
from service.export.target import Target

README = "README.md"
CROISSANT = "croissant.json"
MANIFEST = state.WHOLE_FILE
CHUNK_BYTES = 1 << 20


def finish(target: Target, thorough: bool) -> dict[str, Any]:
    """Check all shards and write README.md, croissant.json and manifest.json; return the content of manifest.json.

    Args: thorough: read every byte again rather than look at sizes.
    Raises: ExportError naming the shards that are missing or damaged.
    """
    context = state.read_context(target)
    commits = check_all_shards(target, context.spec, thorough)
    target.remove_drafts()
    if not thorough and (existing := _read_finished(target, context, commits)):
        return existing
    files = _assemble_idx(target, context) if context.spec.format == "idx" else _files(commits)
    dataset_manifest = _make_manifest(context, commits, files)
    target.write(README, dataset_card.make_readme(context, dataset_manifest).encode())
    target.write(CROISSANT, _to_json(dataset_card.make_croissant(context, dataset_manifest)))
    target.write(MANIFEST, _to_json(dataset_manifest))
    return dataset_manifest


def wait_for_shards(target: Target, count: int, timeout_s: float, poll_s: float, echo: Echo) -> None:
    """Return when every shard of an export of at least `count` images is committed.

    Looks again every `poll_s`, and reports what is missing when that has changed.
    Raises: ExportError naming what is missing after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    reported = ""
    while (missing := _describe_missing(target, count)) and time.monotonic() < deadline:
        if missing != reported:
            echo(f"waiting: {missing}")
        reported = missing
        time.sleep(min(poll_s, max(0.0, deadline - time.monotonic())))
    if missing:
        raise ExportError(target.url, f"after {timeout_s:g} s, {missing}")


def _describe_missing(target: Target, count: int) -> str:
    # Whoever comes first writes the model, then the spec.
    if state.find_spec(target) is None or target.read(state.MODEL_FILE) is None:
        return "no export has begun here"
    spec = state.read_context(target).spec
    if spec.count < count:
        # Its extension has not begun.
        return f"the export here has {spec.count} images instead of {count}"
    shards = spec.shards()
    missing = {s.number for s in shards} - state.read_commits(target, spec, shards).keys()
    return f"{len(missing)} of {len(shards)} shards are not committed" if missing else ""


def _read_finished(target: Target, context: ExportContext, commits: Sequence[ShardCommit]) -> dict[str, Any] | None:
    """Return manifest.json, if this export has been finished already and its files are there."""
    data = target.read(MANIFEST)
    try:
        existing: dict[str, Any] = json.loads(data or b"{}")
    except ValueError:
        return None
    expected = {"job": context.spec.model_dump(mode="json"), "shards": _shards(commits)}
    if data != _to_json(existing) or any(existing.get(name) != value for name, value in expected.items()):
        return None
    if target.read(README) != dataset_card.make_readme(context, existing).encode():
        return None
    if target.read(CROISSANT) != _to_json(dataset_card.make_croissant(context, existing)):
        return None
    sizes = {name: (part["files"], part["bytes"]) for name, part in existing["files"].items()}
    return existing if all(target.measure(name) == size for name, size in sizes.items()) else None


def _shards(commits: Sequence[ShardCommit]) -> list[dict[str, Any]]:
    return [commit.model_dump(mode="json", exclude={"job", "labels"}) for commit in commits]


def check_all_shards(target: Target, spec: ExportSpec, thorough: bool) -> list[ShardCommit]:
    """Return the commits of all shards.

    Raises: ExportError naming the shards that are missing or damaged.
    """
    shards = spec.shards()
    commits = state.read_commits(target, spec, shards)
    if missing := [s.number for s in shards if s.number not in commits]:
        target.remove(MANIFEST)
        raise ExportError(
            target.url,
            f"{len(missing)} of {len(shards)} shards are not committed: {format_ranges(missing)}; run the export again",
        )
    for number in range(len(shards)):
        if damage := state.find_damage(target, commits[number], thorough):
            # Without its marker, the next run makes the shard again.
            target.remove(MANIFEST)
            target.remove(state.marker_name(number))
            raise ExportError(target.url, f"shard {number} is damaged: {damage}; run the export again to make it anew")
    return [commits[number] for number in range(len(shards))]


def _files(commits: Sequence[ShardCommit]) -> dict[str, Part]:
    return {name: part for commit in commits for name, part in commit.parts.items()}


def _make_manifest(context: ExportContext, commits: Sequence[ShardCommit], files: dict[str, Part]) -> dict[str, Any]:
    spec = context.spec
    model = context.manifest
    labels = [sum(counts) for counts in zip(*(commit.labels for commit in commits))]
    return {
        "schema_version": 1,
        "synthetic": True,
        "ganmint": version("ganmint"),
        "job": spec.model_dump(mode="json"),
        "model": {"name": model.name, "version": model.version, "digest": spec.model_digest, "licence": model.licence},
        "images": spec.count,
        "labels": [{"label": k, "name": model.class_names[k], "images": count} for k, count in enumerate(labels)],
        "bytes": sum(part.bytes for part in files.values()),
        "files": {name: part.model_dump() for name, part in files.items()},
        "fingerprints": sorted({commit.fingerprint for commit in commits}),
        "shards": _shards(commits),
    }


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _assemble_idx(target: Target, context: ExportContext) -> dict[str, Part]:
    """Write MNIST's files, plain and gzipped: some loaders take the one, some the other.

    The layout: http://yann.lecun.com/exdb/mnist, "the IDX file format": magic, sizes, bytes; big-endian.
    """
    spec = context.spec
    shape = context.manifest.image
    images, labels = idx_files(spec)
    headers = {
        images: struct.pack(">4I", 0x00000803, spec.count, shape.height, shape.width),
        labels: struct.pack(">2I", 0x00000801, spec.count),
    }
    with target.draft("idx") as draft:
        for kind, (name, header) in enumerate(headers.items()):
            _assemble(target, draft, name, header, [formats.idx_parts(shard)[kind] for shard in spec.shards()])
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
