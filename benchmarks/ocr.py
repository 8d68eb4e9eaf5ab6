"""What OCR costs and finds: throughput with it and without, and which images it takes for ones with words."""

import asyncio
import base64
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.command_line import main
from moderation_service.app.compose import open_judge
from moderation_service.contracts.engine_input import Pixels
from moderation_service.contracts.post import Post
from moderation_service.demo.benchmark import SLICES
from moderation_service.demo.post_factory import PostFactory
from moderation_service.judging.judge import Judge
from moderation_service.media.decode import decode
from moderation_service.media.ocr import TextRecognizer
from moderation_service.media.text_detection import find_lines
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, JudgingSettings, MediaSettings

AT_ONCE = 64
_WORDLESS = 4  # posts without words in their images for each one with
_SIZES = ((480, 640), (640, 480), (240, 320))


def run(*, posts: int = 100, rounds: int = 3, images: int = 100, seed: int = 1) -> dict[str, Any]:
    """Judge posts by the bundled model, a fifth of them with words in the image, and read images alone.

    Args:
        posts: In each round, once without OCR and once with it, in turn; the times are summed.
        rounds: Each of other posts.
        images: Of each kind that are read alone.
        seed: Of posts and images.
    """
    kinds = {
        "text_in_picture": [*islice(_frames(_posts("text_in_picture", seed, images)), images)],
        "pictograms": [*islice(_frames(_posts("held_out_wordings", seed, images)), images)],
        "photographs": [*_photographs(images, seed)],
    }
    recognizer = TextRecognizer()
    recognizer.read(kinds["text_in_picture"][:1])  # the first is slower
    return {
        "images": {name: _read(recognizer, frames) for name, frames in kinds.items()},
        **asyncio.run(_throughput(posts, rounds, seed)),
        "seed": seed,
    }


def _read(recognizer: TextRecognizer, frames: Sequence[Pixels]) -> dict[str, float]:
    """Shares of images with lines, and with words; milliseconds of CPU time an image."""
    lines, detect_ms = zip(*(_timed(find_lines, frame) for frame in frames), strict=True)
    words, read_ms = zip(*(_timed(recognizer.read, [frame]) for frame in frames), strict=True)
    return {
        "count": len(frames),
        "with_lines": round(mean(map(bool, lines)), 3),
        "with_words": round(mean(bool(found and found.words) for found in words), 3),
        "detect_ms": round(mean(detect_ms), 1),
        "read_ms": round(mean(read_ms), 1),
    }


def _timed(work: Any, argument: Any) -> tuple[Any, float]:  # noqa: ANN401 - whatever it takes
    begun = time.thread_time()
    made = work(argument)
    return made, (time.thread_time() - begun) * 1000


async def _throughput(posts: int, rounds: int, seed: int) -> dict[str, Any]:
    plain = BareSettings(judging=JudgingSettings(attribution="always", result_cache_size=0))
    pack = load_pack(plain.policies.path, images=False)
    reading = plain.model_copy(update={"media": MediaSettings(ocr="auto")})
    wall, cpu = ({"off": 0.0, "auto": 0.0} for _ in range(2))
    async with open_judge(plain, pack) as off, open_judge(reading, pack) as auto:
        for number in range(rounds + 1):
            mixed = _mixed(posts, seed + number)
            for name, judge in (("off", off), ("auto", auto)):
                took, used = await _seconds(judge, mixed)
                if number:  # the first forwards are slower
                    wall[name] += took
                    cpu[name] += used
    return {
        "ratio": {"wall": round(wall["off"] / wall["auto"], 3), "cpu": round(cpu["off"] / cpu["auto"], 3)},
        "posts_per_second": {name: round(rounds * posts / took, 2) for name, took in wall.items()},
        "cpu_ms_a_post": {name: round(used * 1000 / (rounds * posts), 1) for name, used in cpu.items()},
        "posts": rounds * posts,
    }


def _mixed(count: int, seed: int) -> list[Post]:
    """Posts of which a fifth hold words in their image, evenly spread."""
    others = _posts("held_out_wordings", seed, count)
    written = _posts("text_in_picture", seed, count)
    return [next(others) if at % (_WORDLESS + 1) else next(written) for at in range(count)]


def _posts(name: str, seed: int, count: int) -> Any:  # noqa: ANN401 - an iterator of posts
    tag = 1 + [*SLICES].index(name)
    for number in range(count):
        for labelled in SLICES[name].make(PostFactory(seed, number, tag, name)):
            yield labelled.post


async def _seconds(judge: Judge, posts: Iterable[Post]) -> tuple[float, float]:
    """How long all took with AT_ONCE in work, by the clock and in CPU time of all threads."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(post: Post) -> None:
        async with free:
            await judge.judge(post, trace_id="0" * 32)

    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(one, posts))
    return time.perf_counter() - begun, time.process_time() - used


def _frames(posts: Iterable[Post]) -> Iterable[Pixels]:
    for post in posts:
        for image in post.images:
            yield from decode(base64.b64decode(image.data or ""), MediaSettings()).frames


def _photographs(count: int, seed: int) -> Iterable[Pixels]:
    """Parts of scikit-learn's two photographs, which show no words, in several sizes."""
    rng = np.random.default_rng(seed)
    photographs = load_sample_images().images
    for number in range(count):
        whole = photographs[number % len(photographs)]
        height, width = (int(side * rng.uniform(0.4, 1.0)) for side in whole.shape[:2])
        top, left = rng.integers(whole.shape[0] - height + 1), rng.integers(whole.shape[1] - width + 1)
        part = Image.fromarray(whole[top : top + height, left : left + width])
        yield np.asarray(part.resize(_SIZES[number % len(_SIZES)], Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main(run)
