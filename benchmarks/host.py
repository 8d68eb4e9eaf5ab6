"""A JPEG of 1024 × 1024 from bytes to patches on one core, here and by the processor.

Times are those of the one thread that works, so that they do not hang on who else uses the machine.
"""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import Glm46VImageProcessor
from transformers.vision_utils import get_vision_position_ids

from benchmarks.command_line import main
from moderation_service.bench.generated_posts import photograph, text
from moderation_service.bench.random_model import CONTEXT, WORDS, make_questionnaire, make_scorer
from moderation_service.contracts.engine_input import Pixels
from moderation_service.engine.local.attention import CuSeqlens
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.image_encoder import ImagePreprocessor, VisionEncoder
from moderation_service.engine.local.packed_row import PostRow, pack_rows
from moderation_service.media.decode import decode
from moderation_service.settings import EngineSettings, MediaSettings

MEDIA = MediaSettings()
SIDE, QUALITY = 1024, 85
MAIN, LARGEST = "448", "1036"
POLICIES = (8, 60)
"""How many, and tokens of each."""

SIZES = {
    "112": (25_088, 31_360),  # the bundled model's processor
    MAIN: (12_544, 2 * 448**2),  # as the engine's bench
    "644": (12_544, 2 * 644**2),
    LARGEST: (12_544, 9_633_792),  # the 9B's own
}
"""What the image becomes, by its side: the least and the most pixels of two frames, as processors are told."""


def run(*, images: int = 9, repeats: int = 7, seed: int = 1) -> dict[str, Any]:
    """Cut the same images by both, in turn, at four sizes; `ratio` and `ms_per_image` are those at 448 × 448.

    `ms_per_image` ends with patches as bytes, `ms_to_floats` with the floats that the processor makes too, and that
    a GPU makes for itself. `vision_ms` is of the bundled model's tower: an image's first look, and its second.
    `post_ms` is of a post with eight policies and such an image at the 9B's size, decoded before: what is done beside
    the model, and what its own thread has left to do before a GPU has work.

    Args:
        images: A third each like a photo, a photo with a caption, and a page of text.
        repeats: Of each image by each way; the medians count.
        seed: Of the images.
    """
    files = [jpeg(number, np.random.default_rng([seed, number])) for number in range(images)]
    with _one_core():
        sizes = {name: _at(_Ways(*edges), files, repeats) for name, edges in SIZES.items()}
        vision = _vision_ms(files)
        post = _post_ms(files, repeats)
    return {
        "ratio": sizes[MAIN]["ratio"],
        "ms_per_image": sizes[MAIN]["ms_per_image"],
        "sizes": sizes,
        "vision_ms": vision,
        "post_ms": post,
        "images": images,
        "mean_bytes": round(sum(map(len, files)) / len(files)),
        "seed": seed,
    }


class _Ways:
    """The same image's bytes to patches."""

    def __init__(self, least: int, most: int) -> None:
        self._processor = Glm46VImageProcessor(size={"shortest_edge": least, "longest_edge": most})
        self._preprocessor = ImagePreprocessor(self._processor, torch.device("cpu"))

    def processor(self, data: bytes) -> torch.Tensor:
        made: torch.Tensor = self._processor(images=[Image.open(io.BytesIO(data))], return_tensors="pt")["pixel_values"]
        return made

    def bytes_(self, data: bytes) -> torch.Tensor:
        return self._preprocessor.patchify(self._preprocessor.stage(self._pixels(data)))

    def floats(self, data: bytes) -> torch.Tensor:
        return self._preprocessor.normalize(self.bytes_(data))

    def levels_apart(self, data: bytes) -> float:
        """How far our patches are from the processor's of the same decoded pixels, of 255 levels."""
        theirs = self._processor(images=[Image.fromarray(self._pixels(data))], return_tensors="pt")["pixel_values"]
        deviation = torch.tensor(self._processor.image_std).repeat_interleave(theirs.shape[1] // 3)
        return float(((self.floats(data) - theirs) * deviation * 255).abs().max())

    def _pixels(self, data: bytes) -> Pixels:
        return decode(data, MEDIA).frames[0]


def _at(ways: _Ways, files: Sequence[bytes], repeats: int) -> dict[str, Any]:
    taken: dict[Callable[[bytes], torch.Tensor], list[float]] = {ways.processor: [], ways.bytes_: [], ways.floats: []}
    for file in files:
        for way in taken:
            way(file)  # the first of a size is slower
        for _ in range(repeats):
            for way, times in taken.items():
                times.append(_ms(partial(way, file)))
    theirs, ours, floats = map(median, taken.values())
    return {
        "ratio": {"hf_processor": round(theirs / ours, 2), "hf_processor_floats": round(theirs / floats, 2)},
        "ms_per_image": round(ours, 2),
        "ms_to_floats": round(floats, 2),
        "hf_ms_per_image": round(theirs, 2),
        "max_levels_apart": round(max(map(ways.levels_apart, files)), 4),
    }


@torch.inference_mode()
def _vision_ms(files: Sequence[bytes]) -> dict[str, float]:
    checkpoint = load_checkpoint(EngineSettings(device="cpu"))
    preprocessor = ImagePreprocessor(checkpoint.image_processor, checkpoint.device)
    vision = VisionEncoder(checkpoint.model, preprocessor)
    images = [preprocessor.stage(decode(data, MEDIA).frames[0]) for data in files]
    vision.features(images)  # the first of all is slower
    vision.clear()
    first, again = ([_ms(partial(vision.features, [image])) for image in images] for _ in range(2))
    return {"first": round(median(first), 2), "again": round(median(again), 2)}


def _post_ms(files: Sequence[bytes], repeats: int) -> dict[str, float]:
    checkpoint = load_checkpoint(EngineSettings(device="cpu"))
    least, most = SIZES[LARGEST]
    processor = Glm46VImageProcessor(size={"shortest_edge": least, "longest_edge": most})
    scorer = make_scorer(replace(checkpoint, image_processor=processor), "post_first")
    questionnaire = make_questionnaire(scorer, *POLICIES, Random(1))  # noqa: S311 - repeatable, no secret
    prefix = scorer.prefix(questionnaire)
    merge, image_token = scorer.preprocessor.merge, checkpoint.config.image_token_id
    words = text(Random(1), WORDS)  # noqa: S311 - as above
    rows: list[PostRow] = []

    def read(pixels: Pixels) -> None:
        post = scorer.post_tokenizer.tokenize(words, (pixels,), CONTEXT)
        _ = [image.key for image in post.images]
        rows[:] = [PostRow(post, prefix.suffixes)]

    def lay_out() -> None:
        packed = pack_rows(rows, len(prefix.ids), image_token, merge)
        for lengths in (
            packed.posts,
            packed.suffixes_by_post,
            packed.suffixes,
            [len(prefix.ids)],
            [packed.ids.shape[1]],
        ):
            CuSeqlens(lengths, checkpoint.device)
        get_vision_position_ids(rows[0].post.images[0].grid, merge)

    taken: tuple[list[float], list[float]] = ([], [])
    for pixels in [decode(data, MEDIA).frames[0] for data in files]:
        for _ in range(repeats):
            taken[0].append(_ms(partial(read, pixels)))
            taken[1].append(_ms(lay_out))
    return dict(zip(("beside_the_model", "on_its_thread"), (round(median(each), 2) for each in taken), strict=True))


def _ms(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begun)


@contextmanager
def _one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def jpeg(number: int, rng: np.random.Generator) -> bytes:
    """A photograph; then one with words, or words alone."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    if number % 3 < 2:  # noqa: PLR2004 - of three kinds, two have a photo
        image = photograph(SIDE, rng)
    if number % 3:
        draw = ImageDraw.Draw(image)
        for line in range(40, SIDE, 200 if number % 3 == 1 else 40):
            words = "".join(rng.choice(list("abcdefghij      "), 60))
            draw.text((30, line), words, fill="black", font_size=32)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


if __name__ == "__main__":
    main(run)
