"""More models and versions for tests, without another export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models import artifact, store
from models.artifact_files import DIRECTIONS
from models.directions import Direction, Directions, dump_directions
from models.files import sha256
from models.manifest import MANIFEST_FILE, dump_manifest, read_manifest
from models.revision import revise
from models.store import StoredModel

# The directions of tests/data/address_vectors.json, for latents of length 8.
DIRECTIONS_OF_TINY = Directions(
    directions=tuple(
        Direction(name=name, description=f"more {name}", measure="none", means=means, vector=vector)
        for name, means, vector in (
            ("tilt", ((-1.5, 3.0), (0.0, 4.0), (1.5, 6.0)), (0.6, 0, -0.8, 0, 0, 0, 0, 0)),
            (
                "wide-2",
                (),
                (0.07001401, -0.14002801, 0.21004201, -0.28005603, 0.35007003, -0.42008403, 0.49009803, -0.56011206),
            ),
        )
    )
)


def install_copy(source: Path, folder: Path, **changes: Any) -> StoredModel:
    """Install the same generator under another name or version, with goldens to match."""
    changed = read_manifest(source).model_copy(update=changes)
    folder.mkdir()
    for name in artifact.FILES:
        (folder / name).write_bytes((source / name).read_bytes())
    with np.load(source / artifact.GOLDEN) as golden:
        texts = [str(t).replace("tiny/1.0.0", f"{changed.name}/{changed.version}") for t in golden["addresses"]]
        np.savez_compressed(folder / artifact.GOLDEN, addresses=np.array(texts), pixels=golden["pixels"])
    files = {name: sha256(folder / name) for name in artifact.FILES}
    (folder / MANIFEST_FILE).write_bytes(dump_manifest(changed.model_copy(update={"files": files})))
    return store.install(folder)


def revise_with_directions(source: Path, to: Path | None = None) -> StoredModel:
    """Write a version of a model with latents of length 8 that has directions, into the store or a folder."""
    content = dump_directions(DIRECTIONS_OF_TINY)
    return revise(artifact.read(source), {DIRECTIONS: content}, {"directions": DIRECTIONS_OF_TINY.names}, to)
