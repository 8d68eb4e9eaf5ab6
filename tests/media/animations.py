"""Random animations with every way to dispose of a frame and to blend it."""

import numpy as np

from tests.media.crafted import apng, gif
from tests.media.reference import Frame

SIDE = 12
_GIF_DISPOSALS = {2: "clear", 3: "restore", 4: "restore"}


def random_apng(seed: int, count: int = 5) -> tuple[bytes, list[Frame]]:
    """A file, and its frames; the first fills the canvas."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        width, height = (SIDE, SIDE) if number == 0 else rng.integers(1, SIDE + 1, 2).tolist()
        levels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        levels[..., 3] = rng.choice([0, 64, 128, 255], (height, width))
        left, top = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
        frames.append((levels, left, top, int(rng.integers(0, 3)), int(rng.integers(0, 2))))
    wanted = [
        Frame(levels, left, top, ("keep", "clear", "restore")[dispose], over=blend == 1)
        for levels, left, top, dispose, blend in frames
    ]
    return apng(SIDE, SIDE, frames), wanted


def random_gif(seed: int, count: int = 5) -> tuple[bytes, list[Frame]]:
    """A file, and its frames; all but the first may reach beyond the screen."""
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (16, 3), dtype=np.uint8)
    frames, wanted = [], []
    for number in range(count):
        left, top = rng.integers(0, SIDE, 2).tolist()
        width, height = rng.integers(1, SIDE + 1, 2).tolist()
        if number == 0:
            width, height = min(width, SIDE - left), min(height, SIDE - top)
        indices = rng.integers(0, 16, (height, width), dtype=np.uint8)
        disposal, transparent = int(rng.integers(0, 5)), int(rng.integers(0, 16)) if rng.integers(2) else None
        frames.append((indices, left, top, disposal, transparent))
        opacity = 255 if transparent is None else np.where(indices == transparent, 0, 255)
        levels = np.dstack([palette[indices], np.broadcast_to(opacity, indices.shape)]).astype(np.uint8)
        wanted.append(Frame(levels, left, top, _GIF_DISPOSALS.get(disposal, "keep"), over=True))
    return gif(SIDE, SIDE, palette, frames), wanted
