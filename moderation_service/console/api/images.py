"""Images that travel in a request: how large they are, before they are decoded."""

from collections.abc import Iterable

from moderation_service.console.api.problems import Problem
from moderation_service.contracts.post import ImageRef, is_data_url

_WHITESPACE = " \t\r\n\f"


def check_sizes(images: Iterable[ImageRef], most: int) -> None:
    """Raise Problem too_large where an image in the body has more than `most` bytes."""
    for number, image in enumerate(images):
        if _size(image) > most:
            raise Problem("too_large", f"image {number}: should be at most {most} bytes")


def _size(image: ImageRef) -> int:
    """The bytes that base64 stands for; at least, where it is in a URL. Media counts exactly, when it decodes."""
    if image.url is not None and is_data_url(image.url):
        head, _, data = image.url.partition(",")
        if not head.rstrip().lower().endswith("base64"):
            return 0
    else:
        data = image.data or ""
    characters = len(data) - sum(map(data.count, _WHITESPACE)) - 2 * data.count("%")
    return characters * 3 // 4 - data[-4:].count("=")
