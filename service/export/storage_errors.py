"""Turn what file systems, object stores and their plug-ins raise into errors that name the URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from models.errors import ExportError, GanmintError

CANNOT_BE_WRITTEN = "cannot be written"


@contextlib.contextmanager
def wrap_storage_errors(url: str, what: str) -> Iterator[None]:
    """Turn any failure of a file system, a store or its plug-in into an ExportError in words."""
    try:
        yield
    except GanmintError:
        raise
    # Plug-ins raise what their own libraries raise; there is no common base.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        advice = ""
        if what == CANNOT_BE_WRITTEN:
            is_gone = isinstance(error, FileNotFoundError)
            advice = "; choose another --out" + (", or end another export that is writing here" if is_gone else "")
        raise ExportError(url, f"{what}: {reason or type(error).__name__}{advice}") from error
