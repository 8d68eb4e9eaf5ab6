"""Pictures that travel in a request: how large they are, before they are decoded."""

import base64
from collections.abc import Iterable
from urllib.parse import unquote, unquote_to_bytes

from moderation_service.console.api.problems import Problem
from moderation_service.contracts.post import ImageRef

_WHITESPACE = " \t\r\n\f"


def check_sizes(images: Iterable[ImageRef], most: int) -> None:
    """Raise Problem too_large where a picture in the body has more than `most` bytes."""
    for number, image in enumerate(images):
        if image.data is not None and _size(image.data) > most:
            raise Problem("too_large", f"picture {number}: should be at most {most} bytes")


def from_address(url: str) -> ImageRef:
    """A picture as OpenAI's clients name it: a `data:` URL, or an address to fetch it from."""
    if url[:5].lower() != "data:":
        return ImageRef(url=url)
    head, _, payload = url.partition(",")
    if head.rstrip().lower().endswith(";base64"):
        return ImageRef(data=unquote(payload))
    return ImageRef(data=base64.b64encode(unquote_to_bytes(payload)).decode())


def _size(data: str) -> int:
    """The bytes that base64 stands for."""
    characters = len(data) - sum(map(data.count, _WHITESPACE))
    return characters * 3 // 4 - data[-4:].count("=")
