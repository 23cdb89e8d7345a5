"""Make a new version of a model that has the same weights, and more files beside them.

Not here: artifact folders (models.artifact), what the files say (models.directions).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import artifact, signing, store
from models.artifact_files import TRAINING_STATE, ArtifactFiles
from models.store import StoredModel


def revise(
    files: ArtifactFiles, added: Mapping[str, bytes], changes: Mapping[str, Any] | None = None, to: Path | None = None
) -> StoredModel:
    """Write the next minor version of an artifact, with files added or replaced.

    The generator's files are the same bytes, so all that the manifest says of training, data, scores and gate stays.
    The goldens and samples are minted again, because their addresses name the version. The version is not signed.

    Args:
        files: an artifact, checked (`models.artifact.read`).
        added: content of optional files by name (`models.artifact_files.OPTIONAL`).
        changes: of the manifest.
        to: the new artifact's folder, which must not exist; by default it is put into the store.
    Returns: the model in the store, or the artifact folder.
    Raises: ArtifactError, VersionExistsError, FileError.
    """
    if to is None:
        with tempfile.TemporaryDirectory(prefix="ganmint-revision-") as temporary_dir:
            folder = Path(temporary_dir) / files.manifest.name
            revise(files, added, changes, folder)
            # Just made here; whoever requires signatures signs it next.
            return store.install(folder, signing.ANY)
    old = files.manifest
    update = {**(changes or {}), "version": store.next_minor_version(old), "upgraded_from": old.version}
    manifest = old.model_copy(update=update)
    state = store.find_training_state(files.folder)
    with artifact.draft_revision(files, manifest, to) as draft:
        if state is not None:
            draft.add(TRAINING_STATE, state.read_bytes())
        for name, content in added.items():
            draft.add(name, content)
        draft.commit(draft.manifest)
    return StoredModel(manifest.name, manifest.version, to)


def describe_place(revised: StoredModel, to: Path | None) -> str:
    """Say where `revise` put a version, for the user who gave `to`."""
    return str(revised.path) if to else f"{revised.name}/{revised.version} in the model store"


def describe_replacement(files: ArtifactFiles, name: str, to: Path | None) -> str | None:
    """Say that `revise` will replace a file which the version has; None where it has none.

    Args:
        files: the version.
        name: of the file that is added.
        to: as for `revise`.
    """
    manifest = files.manifest
    if name not in manifest.files:
        return None
    text = f"{manifest.name} {manifest.version} has a {name}; the new version has another in its place"
    return (
        text if to else f"{text}, and is what the service and /v1/of serve next. --to FOLDER leaves the store as it is"
    )
