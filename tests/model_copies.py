"""More models and versions for tests, without another export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models import artifact, store
from models.files import sha256
from models.manifest import MANIFEST_FILE, dump_manifest, read_manifest
from models.store import StoredModel


def install_copy(source: Path, folder: Path, **changes: str) -> StoredModel:
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
