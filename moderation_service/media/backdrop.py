"""What lies behind transparent pixels: pages are light or dark, and an image can show other content on each."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ALIKE = 64  # levels; two pixels at most half of that apart share a bin, in one of two grids
_ALPHAS = 16
_MOST_HIDDEN = 64  # pixels


def composite_over(image: Image.Image, colour: str) -> Image.Image:
    """An RGBA image as RGB on a page of that colour; others as RGB."""
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image).convert("RGB")


def hides(image: Image.Image) -> bool:
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
