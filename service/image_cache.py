"""Keeps the files of permanent images that were asked for last, so that the next request for one mints nothing.

An entry holds for the artifact that made it: what a version's files were replaced by has another digest. Entries of a
version that was withdrawn are not asked for any more and make room in time. Each worker process has a cache of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from cachetools import LRUCache

from service.metrics import Metrics

# What an entry takes beside its file: its key, its texts, and its places in the cache's dictionaries.
ENTRY_OVERHEAD_BYTES = 1024


class ImageKey(NamedTuple):
    """What was asked for. Asked for in another way (the label left out), the same image is another entry.

    Attributes:
        text: the address as it was asked for.
        media_type: of the file.
        digest: of the artifact that is served under the address's name and version now.
    """

    text: str
    media_type: str
    digest: str


class CachedImage(NamedTuple):
    """The answer to a request for a permanent image, so that it is parsed and checked once.

    Attributes:
        address: canonical.
        etag: of the file.
        file: the encoded image.
    """

    address: str
    etag: str
    file: bytes


class ImageCache:
    """Encoded images by what was asked for; the least recently used make room. Used on one event loop.

    Args:
        max_bytes: most memory of all entries; 0 turns the cache off.
        metrics: where hits, misses and the size are recorded.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._images: LRUCache[ImageKey, CachedImage] = LRUCache(max_bytes, getsizeof=_get_entry_bytes)
        self._hits = metrics.cache_requests.labels("hit")
        self._misses = metrics.cache_requests.labels("miss")
        self._bytes = metrics.cache_bytes
        self._bytes.set(0)

    def find(self, key: ImageKey) -> CachedImage | None:
        """Return an image and count the hit; None where the cache does not have it."""
        image = self._images.get(key)
        if image:
            self._hits.inc()
        return image

    def add(self, key: ImageKey, image: CachedImage) -> None:
        """Count a miss, and keep the image that was minted for it, unless it is larger than the whole cache."""
        if not self._max_bytes:
            return
        self._misses.inc()
        if _get_entry_bytes(image) <= self._max_bytes:
            self._images[key] = image
            self._bytes.set(self._images.currsize)


def _get_entry_bytes(image: CachedImage) -> int:
    return len(image.file) + ENTRY_OVERHEAD_BYTES
