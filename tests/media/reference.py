"""An independent compositor of animations, in floats, by the specifications of GIF89a and APNG."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.media.crafted import Bytes

Floats = NDArray[np.float64]


class Frame(NamedTuple):
    """RGBA levels, where they go, and what becomes of them."""

    levels: Bytes
    left: int
    top: int
    dispose: str
    over: bool


def compose(width: int, height: int, frames: Sequence[Frame]) -> Iterator[Floats]:
    """Each frame's canvas, premultiplied: colour times opacity from 0 to 255, and opacity from 0 to 1."""
    canvas = np.zeros((height, width, 4))
    for frame in frames:
        part = (slice(frame.top, frame.top + len(frame.levels)), slice(frame.left, frame.left + frame.levels.shape[1]))
        before = canvas[part].copy()
        down, across = before.shape[:2]
        levels = frame.levels[:down, :across].astype(float)
        opacity = levels[..., 3:] / 255
        source = np.concatenate([levels[..., :3] * opacity, opacity], -1)
        canvas[part] = source + before * (1 - opacity) if frame.over else source
        yield canvas.copy()
        if frame.dispose == "clear":
            canvas[part] = 0
        elif frame.dispose == "restore":
            canvas[part] = before
