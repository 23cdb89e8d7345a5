"""The one exception tree.

Knows: what can go wrong, and which field or file was at fault. Every message is written for the
user: it names the field or the file and says what to do. Does not know HTTP statuses or exit codes:
`service.errors` and `ganmint` map these classes, each in one place.
"""

from __future__ import annotations

from pathlib import Path


class GanmintError(Exception):
    """Base of every error that this project raises on purpose."""


class InputError(GanmintError):
    """A value that the caller gave is unusable.

    Args:
        message: what is wrong and what would be right, without the field's name.
        field: the name of the offending field, as the caller knows it.
    """

    def __init__(self, message: str, field: str) -> None:
        # Both arguments: an exception crosses to another process by these.
        super().__init__(message, field)
        self.field = field
        self.reason = message

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class ModelNotFoundError(GanmintError):
    """No such model, or no such version of it, in the store.

    Args:
        message: what is missing and what there is.
        field: `model` or `version`.
    """

    def __init__(self, message: str, field: str = "model") -> None:
        super().__init__(message)
        self.field = field


class VersionExistsError(GanmintError):
    """The store already holds that name and version, with other bytes."""


class FileError(GanmintError):
    """A file or folder is missing, damaged or not what it should be.

    Args:
        path: the offending file or folder.
        message: what is wrong with it and what to do.
    """

    def __init__(self, path: Path | str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.reason = message

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ArtifactError(FileError):
    """An artifact folder fails its checks (hash, manifest, goldens)."""


class SignatureError(ArtifactError):
    """An artifact has no signature, or none by the key that was given."""


class DataError(FileError):
    """Training data cannot be read."""


class CheckpointError(FileError):
    """A training checkpoint is damaged or belongs to another run."""


class ExportError(FileError):
    """An export's target cannot be reached or written, holds something else, or is not whole."""


class TrainingDivergedError(GanmintError):
    """Training cannot go on: a loss is not finite, or the discriminator has won outright."""


class MetricError(GanmintError):
    """A figure cannot be measured from what there is; the message says why and what it would take."""


class GateError(GanmintError):
    """A generator stays below its thresholds and is not published."""
