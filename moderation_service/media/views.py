"""Images to the frames that are judged: moments of an animation, tiles of a long image, light and dark pages."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from moderation_service.contracts.engine_input import Pixels
from moderation_service.media.backdrop import composite_over, hides
from moderation_service.settings import MediaSettings

_LONG = 4  # times as long as wide: tiled
_TILE = 2
_OVERLAP = 1 / 8  # of a tile, so that no line of words lies on a border only


class Source(Protocol):
    """An image that can be read, a frame at a time."""

    frames: int

    def read(self, wanted: Sequence[int]) -> Iterator[Image.Image]:
        """The wanted frames in full size, L, RGB or RGBA."""
        ...


class Views(NamedTuple):
    """What the model is shown of an image, and at which `scale` of its width and height."""

    frames: tuple[Pixels, ...]
    scale: float


def views(source: Source, settings: MediaSettings) -> Views:
    """At most `max_frames` frames of at most `max_side` pixels on the longer side.

    Of an animation, moments evenly spaced, the first and the last among them; of an image that is much longer than
    wide, tiles along its length. Where white conceals content of transparent pixels, half as many, each on white and
    on black; on grey where there is room for one frame only.
    """
    most, side = settings.max_frames, settings.max_side
    if source.frames == 1:
        (image,) = source.read([0])
        two_pages = hides(_fitted(image, side))
        parts = _tiles(image, max(1, most // 2) if two_pages else most, side)
        scale = min(side / max(part.size) for part in parts)
        shown = [_fitted(part, side) for part in parts]
    else:
        shown, scale = [], 1.0
        for image in source.read(_spaced(source.frames, most)):
            scale = min(scale, side / max(image.size))
            shown.append(_fitted(image, side))
        if two_pages := any(map(hides, shown)):
            shown = [shown[at] for at in _spaced(len(shown), max(1, most // 2))]
    return Views(tuple(_on_pages(shown, most, two_pages=two_pages)), min(scale, 1.0))


def _on_pages(shown: Sequence[Image.Image], most: int, *, two_pages: bool) -> Iterator[Pixels]:
    light = "grey" if two_pages and most == 1 else "white"
    for image in shown:
        yield np.asarray(composite_over(image, light), dtype=np.uint8)
        if two_pages and most > 1 and hides(image):
            yield np.asarray(composite_over(image, "black"), dtype=np.uint8)


def _tiles(image: Image.Image, most: int, side: int) -> list[Image.Image]:
    """A long image in up to `most` parts along its length, which overlap; another in one."""
    long, short = max(image.size), min(image.size)
    if most == 1 or long <= side or long <= _LONG * short:
        return [image]
    count = min(most, math.ceil(long / (_TILE * short)))
    length = math.ceil(long / (count - (count - 1) * _OVERLAP))
    starts = [at * (long - length) // (count - 1) for at in range(count)]
    if image.height > image.width:
        return [image.crop((0, at, short, at + length)) for at in starts]
    return [image.crop((at, 0, at + length, short)) for at in starts]


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """At most `side` pixels on the longer side."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = [max(1, round(length * scale)) for length in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC, reducing_gap=2.0)


def _spaced(count: int, most: int) -> list[int]:
    """Up to `most` of `count` positions, the first and the last among them."""
    wanted = min(count, most)
    return [number * (count - 1) // (wanted - 1) if wanted > 1 else 0 for number in range(wanted)]
