"""Images to the frames that are judged: moments of an animation, tiles of a long image, light and dark pages."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation_service.contracts.engine_input import Pixels
from moderation_service.media.pdq import ImageHash, pdq
from moderation_service.settings import MediaSettings

_LONG = 4  # times as long as wide: tiled
_TILE = 2
_OVERLAP = 1 / 8  # of a tile, so that no line of words lies on a border only
_ALIKE = 64  # levels; two pixels at most half of that apart share a bin, in one of two grids
_ALPHAS = 16
_MOST_HIDDEN = 64  # pixels
_HASHED_SIDE = 512  # pixels, to which PDQ's authors shrink an image first


class FrameSource(Protocol):
    """An image that can be read, a frame at a time."""

    frames: int

    def read(self, wanted: Sequence[int]) -> Iterator[Image.Image]:
        """The wanted frames in full size, L, RGB or RGBA."""
        ...


class SelectedFrames(NamedTuple):
    """What the model is shown of an image, at which `scale` of its width and height, and the hashes of whole frames."""

    frames: tuple[Pixels, ...]
    scale: float
    hashes: tuple[ImageHash, ...]


def select_frames(source: FrameSource, settings: MediaSettings) -> SelectedFrames:
    """At most `max_frames` frames of at most `max_side` pixels on the longer side.

    Of an animation, moments evenly spaced, the first and the last among them; of an image that is much longer than
    wide, tiles along its length. Where white conceals content of transparent pixels, half as many, each on white and
    on black; on grey where there is room for one frame only.
    """
    most, side = settings.max_frames, settings.max_side
    if source.frames == 1:
        (image,) = source.read([0])
        hashes = [*_hashes(image)]
        two_pages = conceals_content(_fitted(image, side))
        parts = _tiles(image, max(1, most // 2) if two_pages else most, side)
        scale = min(side / max(part.size) for part in parts)
        shown = [_fitted(part, side) for part in parts]
    else:
        shown, scale, hashes = [], 1.0, []
        for image in source.read(_spaced(source.frames, most)):
            hashes += _hashes(image)
            scale = min(scale, side / max(image.size))
            shown.append(_fitted(image, side))
        if two_pages := any(map(conceals_content, shown)):
            shown = [shown[at] for at in _spaced(len(shown), max(1, most // 2))]
    return SelectedFrames(tuple(_on_pages(shown, most, two_pages=two_pages)), min(scale, 1.0), tuple(hashes))


def _hashes(image: Image.Image) -> Iterator[ImageHash]:
    """PDQ of a whole image; of a transparent one on white and on black, since it is known on either."""
    factors = max(1, image.width // _HASHED_SIDE), max(1, image.height // _HASHED_SIDE)
    if image.mode != "RGBA":
        yield pdq(np.asarray(image.convert("L").reduce(factors)))
        return
    small = image.reduce(factors)
    for page in ("white",) if small.getchannel("A").getextrema() == (255, 255) else ("white", "black"):
        yield pdq(np.asarray(composite_over(small, page).convert("L")))


def _on_pages(shown: Sequence[Image.Image], most: int, *, two_pages: bool) -> Iterator[Pixels]:
    light = "grey" if two_pages and most == 1 else "white"
    for image in shown:
        yield np.asarray(composite_over(image, light), dtype=np.uint8)
        if two_pages and most > 1 and conceals_content(image):
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


def composite_over(image: Image.Image, colour: str) -> Image.Image:
    """An RGBA image as RGB on a page of that colour; others as RGB."""
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image).convert("RGB")


def conceals_content(image: Image.Image) -> bool:
    """Whether an image shows content on black that white conceals.

    What is level w over white with opacity a is w - 255 (1 - a) over black. So pixels that look alike over white
    differ over black just as their opacities do; some of the kind are content that white conceals. Every page between
    black and white shows a mixture of both.
    """
    if image.mode != "RGBA" or image.getchannel("A").getextrema() == (255, 255):
        return False
    levels = np.asarray(composite_over(image, "white").convert("L"), np.uint16)
    opacities = np.asarray(image.getchannel("A")) // (256 // _ALPHAS)
    return any(_mixed(levels + shift, opacities) > _MOST_HIDDEN for shift in (0, _ALIKE // 2))


def _mixed(levels: NDArray[np.uint16], opacities: NDArray[np.uint8]) -> int:
    """Of pixels in the same bin of levels: how many have another opacity than the most of them."""
    bins = 256 // _ALIKE + 1
    counts = np.bincount((levels // _ALIKE * _ALPHAS + opacities).ravel(), minlength=bins * _ALPHAS).reshape(
        bins, _ALPHAS
    )
    return int((counts.sum(1) - counts.max(1)).sum())
