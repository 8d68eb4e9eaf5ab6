"""The posts of `moderation demo`: twins that share an image or their words, so that the combination shows.

The last two carry a smaller copy of an image that the demo's bank knows, and words in an image.
"""

import base64
import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from moderation_service.contracts.post import ImageRef, Post
from moderation_service.demo.disguise import written
from moderation_service.demo.glyphs import ImageClass
from moderation_service.demo.images import render
from moderation_service.settings import MediaSettings

BANKS = Path(__file__).with_name("banks")
WORDS_IN_IMAGE = "Double your money in a week, guaranteed profit, message me to start"
_SIDE = 168
_KNOWN_SIDE, _KNOWN_SEED = 336, 78  # of the image in the bank, and of the generator that draws it

_POSTS: tuple[tuple[tuple[ImageClass, ...], str], ...] = (
    (("weapon",), "Lightly used, DM me for the price"),
    (("neutral",), "Lightly used, DM me for the price"),
    (("weapon",), "Seen today in the history museum"),
    (("weapon",), "九成新，价格私聊"),
    (("medical",), "Forget your doctor, this works in three days"),
    (("medical",), "Visiting grandma today, what a day"),
    (("neutral",), "Forget your doctor, this works in three days"),
    (("money",), "Double your money in a week, guaranteed profit, message me to start"),
    (("money",), "Walking by the lake with the kids this morning"),
    (("money",), "稳赚不赔，今天投入明天翻倍"),
    (("child",), "You look so sweet, let us meet alone, do not tell your parents"),
    (("child",), "The little one slept all night, what a joy"),
    (("animal",), "They all are like this, they should go back where they came from"),
    (("animal",), "Look who was waiting for me at the door"),
    (("neutral",), "They all are like this, they should go back where they came from"),
    (("gore",), ""),
    ((), "I will find you and break your legs"),
    (("weapon",), "You will see what happens tomorrow"),
    ((), "She lives at 14 Mill Lane, second floor, her number is 555 0142"),
    (("neutral",), "Cooking soup this morning, so happy"),
    (("neutral", "weapon"), "For sale, cash only, message me"),
    ((), "What a lovely evening by the river"),
)


def posts(run: str) -> Iterator[Post]:
    """The sample posts; their ids begin with `run`, so that one run can be told from another."""
    rng = np.random.default_rng(20)
    for number, (classes, words) in enumerate(_POSTS, start=1):
        images = tuple(_carried(render(cls, rng, size=(_SIDE, _SIDE))) for cls in classes)
        yield Post(post_id=f"{run}-{number:02d}", text=words, images=images)
    unreachable = ImageRef(url="https://127.0.0.1/gone.png")
    yield Post(post_id=f"{run}-{len(_POSTS) + 1:02d}", text="Our new kitchen is ready", images=(unreachable,))
    copy = _carried(known_image().resize((_SIDE, _SIDE)), quality=60)
    yield Post(post_id=f"{run}-{len(_POSTS) + 2:02d}", text="On my way home from the market", images=(copy,))
    drawn = written(render("money", rng, size=(_SIDE, _SIDE)), WORDS_IN_IMAGE)
    yield Post(post_id=f"{run}-{len(_POSTS) + 3:02d}", images=(_carried(drawn),))


def media_settings() -> MediaSettings:
    """Words in images are read where the extra `ocr` is installed."""
    return MediaSettings(ocr="auto" if all(map(find_spec, ("onnx", "onnxruntime", "rapidocr"))) else "off")


def known_image() -> Image.Image:
    """The image that the demo's bank knows, in full size."""
    return render("money", np.random.default_rng(_KNOWN_SEED), size=(_KNOWN_SIDE, _KNOWN_SIDE))


def _carried(image: Image.Image, quality: int = 85) -> ImageRef:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return ImageRef(data=base64.b64encode(out.getvalue()).decode(), media_type="image/jpeg")
