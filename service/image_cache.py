"""Keeps the files of permanent images that were asked for last, so that the next request for one mints nothing.

An image never changes, so an entry is never stale. Entries of a version that is gone are not asked for any more and
make room in time. Each worker process has a cache of its own.
"""

from __future__ import annotations

from cachetools import LRUCache

from service.metrics import Metrics

# What an entry takes beside its file: its key, and its places in the cache's dictionaries.
ENTRY_OVERHEAD_BYTES = 512


class ImageCache:
    """Encoded images by their ETag; the least recently used make room. Used on one event loop.

    Args:
        max_bytes: most memory of all entries; 0 turns the cache off.
        metrics: where hits, misses and the size are recorded.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._files: LRUCache[str, bytes] = LRUCache(max_bytes, getsizeof=_get_entry_bytes)
        self._hits = metrics.cache_requests.labels("hit")
        self._misses = metrics.cache_requests.labels("miss")
        self._bytes = metrics.cache_bytes
        self._bytes.set(0)

    def find(self, etag: str) -> bytes | None:
        """Return a file and count the request; None where the cache does not have it."""
        if not self._max_bytes:
            return None
        file = self._files.get(etag)
        (self._hits if file is not None else self._misses).inc()
        return file

    def add(self, etag: str, file: bytes) -> None:
        """Keep a file, unless it is larger than the whole cache."""
        if _get_entry_bytes(file) <= self._max_bytes:
            self._files[etag] = file
            self._bytes.set(self._files.currsize)


def _get_entry_bytes(file: bytes) -> int:
    return len(file) + ENTRY_OVERHEAD_BYTES
