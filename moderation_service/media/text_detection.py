"""Text detection: finds what looks like lines of words in an image, in a millisecond or a few; needs the extra `ocr`.

Strokes are what a top-hat or black-hat transform leaves: thin, and brighter or darker than what is around them. Strokes
close to each other are joined along the line; kept is what has the shape of a line and holds letters of its height.
"""

from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike

from moderation_service.contracts.engine_input import Pixels

cv2.setNumThreads(1)  # it runs on threads of a pool

SIDE = 480  # pixels, to which an image is shrunk; what has larger letters is found at half of it
LEAST_SIDE = 12
_STROKE = np.ones((7, 7), np.uint8)  # no stroke is wider
_CONTRAST = 60  # levels
_GAP = np.ones((1, 7), np.uint8)  # between letters
_SPECK = np.ones((3, 3), np.uint8)
_MOST = 50  # candidates of each kind
_HEIGHTS = (5, 0.4)  # pixels; share of the image, where that is more than 24 pixels
_LONG = 2.6  # times as long as high
_FILLED = 0.4  # of its rectangle
_INK = (0.15, 0.8)  # of its rectangle
_EDGES = 1.1  # of strokes on the middle line, to a square
_DENSE = 5.0  # the same where no letters need to be told apart
_LETTERS = 3
_TALL = 0.5  # of the line, a letter
_LETTERS_COVER = 0.45  # of its length
_BLOB = 0.6  # of its length, more than a letter takes

RULES = (SIDE, LEAST_SIDE, 7, _CONTRAST, 7, 3, _MOST, *_HEIGHTS, _LONG, _FILLED, *_INK, _EDGES, _DENSE, _LETTERS, _TALL)


class Line(NamedTuple):
    """A rectangle in pixels of the image."""

    left: float
    top: float
    width: float
    height: float


def find_lines(pixels: Pixels) -> list[Line]:
    """What looks like lines of words. Level or nearly so; a column of words, or writing on its side, is not found."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if min(grey.shape) < LEAST_SIDE:
        return []
    scale = min(1.0, SIDE / max(grey.shape))
    if scale < 1:
        grey = _shrunk(grey, scale)
    lines = [*_lines_at(grey, scale)]
    if min(grey.shape) >= 2 * LEAST_SIDE:
        lines += _lines_at(_shrunk(grey, 0.5), scale / 2)
    return lines


def _shrunk(grey: MatLike, scale: float) -> MatLike:
    height, width = grey.shape
    return cv2.resize(grey, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)


def _lines_at(grey: MatLike, scale: float) -> list[Line]:
    found = []
    for transform in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        ink = (cv2.morphologyEx(grey, transform, _STROKE) > _CONTRAST).astype(np.uint8)
        joined = cv2.morphologyEx(cv2.morphologyEx(ink, cv2.MORPH_CLOSE, _GAP), cv2.MORPH_OPEN, _SPECK)
        boxes = cv2.connectedComponentsWithStats(joined, connectivity=4)[2][1:]
        wide, high, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
        low, share = _HEIGHTS
        is_line = (high >= low) & (high <= max(24, share * grey.shape[0])) & (wide >= _LONG * high)
        for left, top, width, height in boxes[is_line & (area >= _FILLED * wide * high)][:_MOST, :4].tolist():
            if _holds_letters(ink[top : top + height, left : left + width]):
                found.append(Line(left / scale, top / scale, width / scale, height / scale))
    return found


def _holds_letters(ink: MatLike) -> bool:
    """Whether strokes stand as close as in letters, and single ones are as high as the line or the strokes are many."""
    height, width = ink.shape
    if not _INK[0] <= ink.mean() <= _INK[1]:
        return False
    edges = np.abs(np.diff(ink.astype(np.int8), axis=1)).sum(1)
    density = np.median(edges[height // 5 : height - height // 5]) * height / width
    if density >= _DENSE:  # outlined letters touch each other, as Chinese ones do
        return True
    strokes = cv2.connectedComponentsWithStats(ink, connectivity=8)[2][1:]
    widths = strokes[strokes[:, 3] >= _TALL * height, 2]
    is_blob = len(widths) and widths.max() > _BLOB * width and width > 4 * height
    return density >= _EDGES and len(widths) >= _LETTERS and widths.sum() >= _LETTERS_COVER * width and not is_blob
