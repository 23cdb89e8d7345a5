"""What is known of one version of a model in the service: loaded, checked, or why it is not served.

Not here: loading it (service.model_loader), which versions are loaded (service.registry).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from models.errors import ArtifactError, FileError, GanmintError
from models.files import FileIdentity
from models.manifest import Manifest
from models.store import StoredModel
from service.batcher import Batcher
from service.errors import NotReadyError

# A failure that may pass is tried again after a poll, two, four, and so on, at most so many.
MAX_POLLS = 64
# Name and version.
ModelKey = tuple[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """One loaded version.

    Attributes:
        manifest: its manifest.
        digest: hash of the artifact, which its images' bytes depend on.
        fingerprint: runtime and processor, which they depend on, too.
        runtime: the runtime's name, onnx or torchscript.
        batch_size: the most images of a batch.
        is_padded: whether every batch is filled up, because an image's bits depend on its batch here.
        batcher: its queue. Whoever holds it can use it, also when the version is no longer served.
    """

    manifest: Manifest
    digest: str
    fingerprint: str
    runtime: str
    batch_size: int
    is_padded: bool
    batcher: Batcher


@dataclass(frozen=True)
class CheckedFiles:
    """What is known of a version whose signature and hashes are good, loaded or not.

    Attributes:
        identity: of the files and keys, read before the check.
        digest: hash of the artifact.
        manifest: its manifest.
    """

    identity: FileIdentity
    digest: str
    manifest: Manifest


@dataclass(frozen=True)
class LoadFailure:
    """Why a version is not served.

    Attributes:
        error: for callers.
        identity: of the files and keys that failed.
        num_tries: how often they failed one after the other.
        retry_at: time.monotonic() of the next try; None: not before the files or keys change.
    """

    error: GanmintError
    identity: FileIdentity
    num_tries: int
    retry_at: float | None

    @property
    def is_due(self) -> bool:
        """Whether the same files are to be tried again."""
        return self.retry_at is not None and time.monotonic() >= self.retry_at


def make_failure(
    stored: StoredModel, cause: Exception, identity: FileIdentity, previous: LoadFailure | None, poll_s: float
) -> LoadFailure:
    """Judge why a version could not be loaded: what was found wrong with it stays wrong, all else may pass.

    Args:
        stored: the version.
        cause: what was raised.
        identity: of its files and keys.
        previous: its failure before this one.
        poll_s: seconds until the first of the next tries.
    """
    num_tries = previous.num_tries + 1 if previous and previous.identity == identity else 1
    if isinstance(cause, ArtifactError) or (isinstance(cause, GanmintError) and not isinstance(cause, FileError)):
        return LoadFailure(cause, identity, num_tries, None)
    # Memory, file handles, a disk, a key that cannot be read now.
    error = NotReadyError(f"{stored} could not be loaded just now; it is tried again")
    return LoadFailure(error, identity, num_tries, time.monotonic() + poll_s * min(2 ** (num_tries - 1), MAX_POLLS))
