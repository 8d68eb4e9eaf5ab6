"""Image containers, read before any decoder sees them: `read` for any format, a module a format.

Each tells size, frames, scans, orientation and colour from the bytes, and leaves out what is not image (text,
comments, further previews): those parts hold the cheapest bombs. Malformed containers raise ValueError, IndexError or
struct.error.
"""

from collections.abc import Callable

from moderation_service.media.containers import avif, gif, jpeg, png, webp
from moderation_service.media.containers.container import Container

_READERS: dict[str, Callable[[bytes], Container]] = {
    "image/jpeg": jpeg.read,
    "image/png": png.read,
    "image/gif": gif.read,
    "image/webp": webp.read,
    "image/avif": avif.read,
}


def read(data: bytes, media_type: str) -> Container:
    """The container of a file of one of the decoded media types."""
    return _READERS[media_type](data)
