"""The files of an artifact, read once: what was checked is what is loaded, whoever writes to the folder meanwhile.

Not here: what the files mean (models.artifact), who signed them (models.signing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.errors import ArtifactError, FileError
from models.files import is_temporary
from models.manifest import MANIFEST_FILE, Manifest, parse_manifest

ONNX_FILE = "generator.onnx"
TORCHSCRIPT_FILE = "generator.ts"
WEIGHTS = "generator.safetensors"
GOLDEN = "golden.npz"
SAMPLES = "samples.png"
CARD = "card.md"
# Networks to start a training from; optional, and serving never reads it.
TRAINING_STATE = "training.safetensors"
DIRECTIONS = "directions.json"
UNITS = "units.json"
# What an artifact may have besides.
OPTIONAL = (CARD, DIRECTIONS, UNITS, TRAINING_STATE)
# What an artifact must have. The first ones of schema 1 lack the model card.
FILES_1 = (TORCHSCRIPT_FILE, WEIGHTS, GOLDEN, SAMPLES)
FILES = (ONNX_FILE, *FILES_1)


@dataclass(frozen=True)
class ArtifactFiles:
    """What a folder held when it was read; nothing of it is checked yet.

    Attributes:
        folder: where it was read, for messages.
        contents: the bytes of every file but the training state, by its path in the folder.
    """

    folder: Path
    contents: Mapping[str, bytes]

    def get(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises: ArtifactError where the folder has no such file.
        """
        if name not in self.contents:
            reason = "is missing; install the model again from where it was published"
            if name == MANIFEST_FILE:
                reason = "is missing; this is not an artifact folder"
            raise ArtifactError(self.folder / name, reason)
        return self.contents[name]

    @cached_property
    def manifest(self) -> Manifest:
        """What manifest.json says. Raises ArtifactError."""
        return parse_manifest(self.get(MANIFEST_FILE), self.folder / MANIFEST_FILE)

    @cached_property
    def digest(self) -> str:
        """The artifact's identity: the sha256 of its manifest, which holds the hashes of all else."""
        return hashlib.sha256(self.get(MANIFEST_FILE)).hexdigest()


def read_files(folder: Path) -> ArtifactFiles:
    """Read the files of a folder, whatever they are.

    Raises:
        ArtifactError: a file must not be read.
        FileError: the disk or the system failed; another try may do.
    """
    contents = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == TRAINING_STATE or is_temporary(path) or path.is_dir():
            continue
        try:
            contents[name] = path.read_bytes()
        except FileNotFoundError:
            # Removed since it was listed, or a link to nothing: it is missing, if anybody asks.
            continue
        except PermissionError as error:
            raise ArtifactError(path, f"cannot be read: {error.strerror}; correct its permissions") from None
        except OSError as error:
            raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    return ArtifactFiles(folder, contents)


def check_hashes(files: ArtifactFiles) -> Manifest:
    """Check that every file that minting needs, so not the training state, has the hash that the manifest names.

    Returns: the manifest.
    Raises: ArtifactError naming the file.
    """
    manifest = files.manifest
    required = list_files(manifest)
    for name in sorted({*required, *manifest.files} - {TRAINING_STATE}):
        if name not in (*required, *OPTIONAL):
            raise ArtifactError(files.folder / MANIFEST_FILE, f"names {name!r}, which is no file of an artifact")
        if name not in manifest.files:
            raise ArtifactError(files.folder / MANIFEST_FILE, f"names no hash for {name}")
        if hashlib.sha256(files.get(name)).hexdigest() != manifest.files[name]:
            raise ArtifactError(
                files.folder / name,
                "does not have the hash that manifest.json names: it was changed or damaged, and was not "
                "loaded; install the model again from where it was published",
            )
    if bool(manifest.directions) != (DIRECTIONS in manifest.files):
        raise ArtifactError(files.folder / MANIFEST_FILE, f"names directions without a hash for {DIRECTIONS}, or none")
    return manifest


def list_files(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the files that an artifact of this schema must have, besides manifest.json."""
    return FILES_1 if manifest.schema_version == 1 else FILES
