"""LRU cache of decoded images, keyed by digest: a repost costs a digest of its bytes."""

from collections import OrderedDict
from hashlib import sha256
from threading import Lock

from moderation_service.media.decode import decode
from moderation_service.media.outcome import LoadedImage
from moderation_service.settings import MIB, MediaSettings

KEPT_BYTES = 64 * MIB
"""Pixels of 21 images of 1024 × 1024."""


class Decoder:
    """Decodes as `decode` does, and keeps the pixels asked for last. Threads may share it."""

    def __init__(self, settings: MediaSettings, kept_bytes: int = KEPT_BYTES) -> None:
        self._settings, self._kept_bytes = settings, kept_bytes
        self._kept: OrderedDict[str, LoadedImage] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, data: bytes) -> LoadedImage:
        """One image; blocks. Never raises for what the bytes hold."""
        digest = sha256(data).hexdigest()
        with self._lock:
            if kept := self._kept.get(digest):
                self._kept.move_to_end(digest)
                return kept
        image = decode(data, self._settings, digest)
        if image.frames:
            with self._lock:
                self._keep(digest, image)
        return image

    def _keep(self, digest: str, image: LoadedImage) -> None:
        if digest in self._kept:  # another thread was at it too
            return
        self._kept[digest] = image
        self._bytes += _size(image)
        while self._bytes > self._kept_bytes:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(image: LoadedImage) -> int:
    return sum(frame.nbytes for frame in image.frames)
