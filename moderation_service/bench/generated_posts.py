"""Seeded posts that are all different. They mean nothing, and take the time that any post takes."""

import base64
import io
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image

from moderation_service.contracts.post import ImageRef

_WORDS = [
    "a",
    "bicycle",
    "by",
    "garden",
    "letters",
    "market",
    "morning",
    "new",
    "old",
    "quiet",
    "rain",
    "river",
    "shoes",
]


def text(rng: random.Random, length: int) -> str:
    """English words, cut to `length` characters."""
    return " ".join(rng.choices(_WORDS, k=length))[:length]


def make_image(rng: random.Random, side: int) -> ImageRef:
    """A JPEG of `side` squared, carried in the post: coarse noise, blurred by its enlargement."""
    coarse = Image.frombytes("RGB", (16, 16), rng.randbytes(16 * 16 * 3))
    out = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return ImageRef(data=base64.b64encode(out.getvalue()).decode(), media_type="image/jpeg")


def photograph(side: int, rng: np.random.Generator) -> Image.Image:
    """An image with a photo's spectrum: detail at every scale, less the finer it is."""
    levels = np.full((side, side, 3), 127.0)
    cells = 4
    while cells <= side:
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        levels += (np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) - 127) / cells**0.5
        cells *= 2
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def photographs(count: int, side: int, seed: int) -> Iterator[bytes]:
    """JPEGs of `side` squared that are all different: crops of one large photograph."""
    rng = np.random.default_rng(seed)
    whole = photograph(2 * side, rng)
    for _ in range(count):
        left, top = (int(at) for at in rng.integers(0, side, 2))
        out = io.BytesIO()
        whole.crop((left, top, left + side, top + side)).save(out, "JPEG", quality=85)
        yield out.getvalue()
