"""Every error that Ganmint raises on purpose; `GanmintError` is the base of all."""

from models.errors import (
    ArtifactError,
    CheckpointError,
    DataError,
    ExportError,
    FileError,
    GanmintError,
    GateError,
    InputError,
    MetricError,
    ModelNotFoundError,
    SignatureError,
    TrainingDivergedError,
    VersionExistsError,
)

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "DataError",
    "ExportError",
    "FileError",
    "GanmintError",
    "GateError",
    "InputError",
    "MetricError",
    "ModelNotFoundError",
    "SignatureError",
    "TrainingDivergedError",
    "VersionExistsError",
]
