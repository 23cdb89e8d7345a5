"""Make a new version of an older artifact: the same weights in today's files.

Needs torch and onnx. Not here: artifact folders (models.artifact), the store (models.store).
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models import artifact, goldens, signing, store
from models.artifact_files import ArtifactFiles
from models.errors import ArtifactError, GanmintError, InputError
from models.manifest import Manifest, read_manifest
from models.network_config import GeneratorConfig
from models.store import StoredModel

NEWEST_SCHEMA = 2
INSTALL = "pip install '.[train]' (in the checkout)"


def upgrade(folder: Path, to: Path | None = None, batch_size: int | None = None) -> StoredModel:
    """Write the next minor version of an artifact in the newest schema.

    The goldens and samples are minted again. Everything that the manifest says of training, data, scores and gate
    stays, because the weights stay.

    Args:
        folder: an artifact of an older schema.
        to: the new artifact's folder; by default it is put into the store.
        batch_size: for the CPU, instead of measuring.
    Returns: the model in the store, or the artifact folder.
    Raises:
        GanmintError: torch or onnx is not installed.
        InputError: the artifact is of the newest schema, or the store has an upgraded version of it.
        ArtifactError: the artifact is damaged, or its weights do not make its goldens.
        VersionExistsError, FileError: the store cannot take the new version.
    """
    check_packages()
    files = artifact.read(folder)
    manifest = files.manifest
    if manifest.schema_version == NEWEST_SCHEMA:
        raise InputError(
            f"{manifest.name} {manifest.version} is of schema {NEWEST_SCHEMA}, the newest: there is nothing to upgrade",
            "MODEL",
        )
    if to is None and (done := _find_upgraded(manifest)):
        raise InputError(
            f"{manifest.name} {manifest.version} was upgraded before: the store has {done.version}, with "
            "the same weights",
            "MODEL",
        )
    upgraded = manifest.model_copy(
        update={
            "schema_version": NEWEST_SCHEMA,
            "version": store.next_minor_version(manifest),
            "upgraded_from": manifest.version,
            "files": {},
        }
    )
    if to is not None:
        _write_artifact(files, upgraded, to, batch_size)
        return StoredModel(upgraded.name, upgraded.version, to)
    with tempfile.TemporaryDirectory(prefix="ganmint-upgrade-") as temporary_dir:
        new_folder = Path(temporary_dir) / upgraded.name
        _write_artifact(files, upgraded, new_folder, batch_size)
        return store.install(new_folder, signing.ANY)


def check_packages() -> None:
    """Check that what an upgrade needs is installed.

    Raises: GanmintError.
    """
    missing = [name for name in ("torch", "onnx") if not find_spec(name)]
    if missing:
        raise GanmintError(f"upgrading a model needs {' and '.join(missing)}; try: {INSTALL}")


def _find_upgraded(manifest: Manifest) -> StoredModel | None:
    """Return the version in the store that was made from this one."""
    for stored in store.list_versions(manifest.name):
        with contextlib.suppress(ArtifactError):
            if read_manifest(stored.path).upgraded_from == manifest.version:
                return stored
    return None


def _write_artifact(files: ArtifactFiles, new: Manifest, to: Path, batch_size: int | None) -> None:
    from models.networks import load_generator

    weights = files.folder / artifact.WEIGHTS
    config = GeneratorConfig.model_validate(files.manifest.network)
    generator = load_generator(config, files.get(artifact.WEIGHTS), weights)
    with artifact.draft(generator, new, to, batch_size) as draft:
        addresses, expected = goldens.parse_goldens(files)
        minted = draft.sampler.mint([dataclasses.replace(address, version=new.version) for address in addresses])
        if minted.shape != expected.shape or np.abs(minted.astype(np.int16) - expected).max() > 1:
            raise ArtifactError(weights, f"does not make the images of {artifact.GOLDEN}; install the model again")
        draft.commit(draft.manifest)
