"""The exceptions of Ganmint.

    GanmintError
        InputError                a value that the caller gave is unusable
        ModelNotFoundError
        VersionExistsError
        FileError                 a file or folder is missing, damaged or of the wrong kind
            ArtifactError
                SignatureError
            DataError
                DamagedFileError
            CheckpointError
            ExportError
        TrainingDivergedError
        MetricError
        GateError

Every message is written for the user: it names the field or the file and says what to do. Not here: HTTP statuses
(service.errors) and exit codes (ganmint.cli).
"""

from __future__ import annotations

from pathlib import Path


def first_line(error: Exception) -> str:
    """Return the first line of what another library's error says; its type's name if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class GanmintError(Exception):
    """Base of every error that this project raises on purpose."""


class InputError(GanmintError):
    """A value that the caller gave is unusable.

    Args:
        message: what is wrong and what would be right, without the field's name.
        field: the name of the field at fault, as the caller knows it.
    """

    def __init__(self, message: str, field: str) -> None:
        # Both arguments, because an exception is sent to another process as these.
        super().__init__(message, field)
        self.field = field
        self.reason = message

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class ModelNotFoundError(GanmintError):
    """No such model, or no such version of it, in the store.

    Args:
        message: what is missing, and what exists.
        field: `model` or `version`.
    """

    def __init__(self, message: str, field: str = "model") -> None:
        super().__init__(message)
        self.field = field


class VersionExistsError(GanmintError):
    """The store already holds that name and version, with other bytes."""


class FileError(GanmintError):
    """A file or folder is missing, damaged or of the wrong kind.

    Args:
        path: the file or folder at fault.
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
    """An artifact has no signature, or one by another key."""


class DataError(FileError):
    """Training data cannot be read."""


class DamagedFileError(DataError):
    """A file of the training data cannot be read or decoded."""


class CheckpointError(FileError):
    """A training checkpoint is damaged or belongs to another run."""


class ExportError(FileError):
    """An export's target cannot be reached or written, holds something else, or is incomplete."""


class TrainingDivergedError(GanmintError):
    """Training cannot go on: a loss is not finite, or the discriminator separates real from fake completely."""


class MetricError(GanmintError):
    """A metric cannot be measured from the given images; the message says why and what is needed."""


class GateError(GanmintError):
    """A generator does not pass its gate and is not published."""
