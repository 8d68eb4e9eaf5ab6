"""Pixels made to suit an image processor of the family, before it sees them."""

import math

import numpy as np
from PIL import Image

from moderation_service.contracts.engine_input import Pixels

MAX_ASPECT = 150
"""The family's image processors refuse images longer than 200 times their width."""


def widened(pixels: Pixels) -> Pixels:
    """Repeat the edge of an image too narrow for the processor; others are left as they are."""
    height, width = pixels.shape[:2]
    least = -(-max(height, width) // MAX_ASPECT)
    if min(height, width) >= least:
        return pixels
    return np.pad(pixels, ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0)), mode="edge")


def shrunk(pixels: Pixels, cells: tuple[int, int], allowed: int, unit: int) -> Pixels:
    """An image of `cells` (rows, columns; a token each, `unit` pixels a side) made one of at most `allowed` cells."""
    rows, columns = cells
    scale = math.sqrt(allowed / (rows * columns))
    rows = max(1, min(int(rows * scale), allowed))
    columns = max(1, min(int(columns * scale), allowed // rows))
    small = Image.fromarray(pixels).resize((columns * unit, rows * unit), Image.Resampling.BICUBIC)
    return np.asarray(small)
