"""LRU cache of decoded images, keyed by digest: a repost costs a digest of its bytes."""

from contextlib import suppress
from hashlib import sha256
from threading import Lock

from cachetools import LRUCache

from moderation_service.media.decode import decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MIB, MediaSettings

KEPT_BYTES = 64 * MIB
"""Pixels of 21 images of 1024 × 1024."""


class Decoder:
    """Decodes as `decode` does, and keeps the pixels asked for last. Threads may share it."""

    def __init__(self, settings: MediaSettings, kept_bytes: int = KEPT_BYTES) -> None:
        self._settings = settings
        self._decoded: LRUCache[str, LoadedImage] = LRUCache(kept_bytes, getsizeof=_size)
        self._lock = Lock()

    def __call__(self, data: bytes) -> LoadedImage:
        """One image; blocks. Never raises for what the bytes hold."""
        digest = sha256(data).hexdigest()
        with self._lock:
            if decoded := self._decoded.get(digest):
                return decoded
        image = decode(data, self._settings, digest)
        if image.frames:
            with self._lock, suppress(ValueError):  # larger than the whole cache
                self._decoded[digest] = image
        return image


def _size(image: LoadedImage) -> int:
    return sum(frame.nbytes for frame in image.frames)
