"""Seeded posts that are all different. They mean nothing, and take the time that any post takes."""

import base64
import io
import random

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


def picture(rng: random.Random, side: int) -> ImageRef:
    """A JPEG of `side` squared, carried in the post: coarse noise, blurred by its enlargement."""
    coarse = Image.frombytes("RGB", (16, 16), rng.randbytes(16 * 16 * 3))
    out = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return ImageRef(data=base64.b64encode(out.getvalue()).decode(), media_type="image/jpeg")
