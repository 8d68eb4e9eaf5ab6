"""Frames without the lines of words that OCR read: cropped where these stand at an edge, else painted over."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from moderation_service.contracts.engine_input import Pixels

_LEAST_KEPT = 0.5  # of the height; less would be another image
_MOST_WIDE = 8  # times as wide as high
_MARGIN = 2  # pixels: letters are blurred at their edges
_SAME_COLOUR = 16  # of 255, in each channel: more than JPEG does to a plain ground, less than faint words differ
_LEAST_GROUND = 0.25  # of a row: the rest is letters

_Scalar = TypeVar("_Scalar", bound=np.generic)

RULES = (_LEAST_KEPT, _MOST_WIDE, _MARGIN, _SAME_COLOUR, _LEAST_GROUND)


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


def without_text(frames: Sequence[Pixels], boxes: Sequence[TextBox]) -> tuple[tuple[Pixels, ...], bool]:
    """The frames without what is in the boxes, and whether nothing is gone but words on plain ground."""
    cut = [_without(frame, [box for box in boxes if box.frame == number]) for number, frame in enumerate(frames)]
    return tuple(frame for frame, _ in cut), all(is_plain for _, is_plain in cut)


def _without(frame: Pixels, boxes: Sequence[TextBox]) -> tuple[Pixels, bool]:
    if not boxes:
        return frame, True
    for find_rows in (_between_strips, _largest_gap):
        top, bottom = find_rows(frame, boxes)
        if bottom - top >= max(_LEAST_KEPT * frame.shape[0], frame.shape[1] / _MOST_WIDE):
            return np.ascontiguousarray(frame[top:bottom]), find_rows is _between_strips
    painted = frame.copy()
    for box in boxes:
        place = _place(painted, box)
        place[:] = _ground(place)
    return painted, False


def _between_strips(frame: Pixels, boxes: Sequence[TextBox]) -> tuple[int, int]:
    """The first and the last row between strips at the edges that hold the boxes and else are plain; 0, 0 if none.

    The edges are looked for, because a box may reach over its strip's by some pixels.
    """
    channels = np.moveaxis(frame, -1, 0).copy()  # a comparison of whole rows takes a twentieth of one of pixels
    is_ground, is_text = np.zeros((2, *frame.shape[:2]), bool)
    for ground in {tuple(_ground(_place(frame, box)).tolist()) for box in boxes}:
        is_ground |= np.logical_and.reduce(
            [
                (channel >= max(value - _SAME_COLOUR, 0)) & (channel <= value + _SAME_COLOUR)
                for channel, value in zip(channels, ground, strict=True)
            ]
        )
    for box in boxes:
        _place(is_text, box, _MARGIN)[:] = True
    ends = ~((is_ground | is_text).all(1) & (is_ground.mean(1) >= _LEAST_GROUND))
    if not ends.any():
        return 0, 0
    top, bottom = int(ends.argmax()), len(ends) - int(ends[::-1].argmax())
    is_inside = any(top <= (box.top + box.bottom) / 2 < bottom for box in boxes)
    return (0, 0) if is_inside else (top, bottom)


def _largest_gap(frame: Pixels, boxes: Sequence[TextBox]) -> tuple[int, int]:
    """The first and the last row of the highest part of the frame that is free of boxes."""
    gaps, free_from = [], 0
    for box in sorted(boxes, key=lambda box: box.top):
        gaps.append((free_from, box.top - _MARGIN))
        free_from = max(free_from, box.bottom + _MARGIN)
    return max([*gaps, (free_from, frame.shape[0])], key=lambda gap: gap[1] - gap[0])


def _place(of: NDArray[_Scalar], box: TextBox, margin: int = 0) -> NDArray[_Scalar]:
    return of[max(box.top - margin, 0) : box.bottom + margin, max(box.left - margin, 0) : box.right + margin]


def _ground(place: Pixels) -> NDArray[np.float64]:
    """The colour of most of a line's rectangle."""
    ground: NDArray[np.float64] = np.median(place, axis=(0, 1))
    return ground
