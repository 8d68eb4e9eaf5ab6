"""Frames without the lines of words that OCR read: cropped where these stand at an edge, else painted over."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moderation_service.contracts.engine_input import Pixels

_LEAST_KEPT = 0.5  # of the height; less would be another image
_MOST_WIDE = 8  # times as wide as high
_MARGIN = 2  # pixels: letters are blurred at their edges

RULES = (_LEAST_KEPT, _MOST_WIDE, _MARGIN)


class TextBox(NamedTuple):
    """The rectangle round a line of words, in pixels of a frame, and the frame's number in the image."""

    frame: int
    left: int
    top: int
    right: int
    bottom: int


class ImageText(NamedTuple):
    """The words that were read in an image, and where its lines are."""

    words: str
    boxes: tuple[TextBox, ...] = ()


def without_text(frames: Sequence[Pixels], boxes: Sequence[TextBox]) -> tuple[Pixels, ...]:
    """The frames without what is in the boxes; one without boxes as it is."""
    return tuple(
        _without(frame, own) if (own := [box for box in boxes if box.frame == number]) else frame
        for number, frame in enumerate(frames)
    )


def _without(frame: Pixels, boxes: Sequence[TextBox]) -> Pixels:
    top, bottom = _largest_gap(frame.shape[0], boxes)
    if bottom - top >= max(_LEAST_KEPT * frame.shape[0], frame.shape[1] / _MOST_WIDE):
        return np.ascontiguousarray(frame[top:bottom])
    painted = frame.copy()
    for box in boxes:
        place = painted[box.top : box.bottom, box.left : box.right]
        place[:] = np.median(place, axis=(0, 1))  # most of a line's rectangle is its background
    return painted


def _largest_gap(height: int, boxes: Sequence[TextBox]) -> tuple[int, int]:
    """The first and the last row of the highest part of the frame that is free of boxes."""
    gaps, free_from = [], 0
    for box in sorted(boxes, key=lambda box: box.top):
        gaps.append((free_from, box.top - _MARGIN))
        free_from = max(free_from, box.bottom + _MARGIN)
    return max([*gaps, (free_from, height)], key=lambda gap: gap[1] - gap[0])
