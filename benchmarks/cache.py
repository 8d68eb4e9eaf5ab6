"""What reposts cost, where identical content is judged once."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.command_line import main
from benchmarks.worker import open_judge
from moderation_service.bench.generated_posts import make_image, text
from moderation_service.contracts.post import Post
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.judging.judge import Judge
from moderation_service.settings import BareSettings

DUPLICATES = 0.8
AT_ONCE = 64
ROUNDS = 3
_TEXT, _SIDE = 200, 112  # characters, and pixels: the bundled model's size


def run(*, posts: int = 400, seed: int = 1) -> dict[str, Any]:
    """Judge posts of words and an image with the bundled model: all different, then four in five a repost.

    Args:
        posts: In each of the two kinds; each is judged three times, in turn, and the times are summed.
        seed: Of the posts.
    """
    return asyncio.run(_run(posts, seed))


async def _run(posts: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    settings = BareSettings()
    seconds, judged = {"distinct": 0.0, "duplicates_80": 0.0}, 0
    async with open_judge(settings, LocalEngine(settings.engine)) as judge:
        few = min(posts, AT_ONCE)
        await _seconds(judge, _posts(rng, few, few))  # the first forwards are slower
        for _ in range(ROUNDS):
            seconds["distinct"] += (await _seconds(judge, _posts(rng, posts, posts)))[0]
            took, own = await _seconds(judge, _posts(rng, posts, max(1, round(posts * (1 - DUPLICATES)))))
            seconds["duplicates_80"] += took
            judged += own
    rate = {name: ROUNDS * posts / took for name, took in seconds.items()}
    return {
        "ratio": {"duplicates_80": round(rate["duplicates_80"] / rate["distinct"], 3)},
        "posts_per_second": {name: round(value, 2) for name, value in rate.items()},
        "posts": ROUNDS * posts,
        "judged_of_duplicates_80": judged,
        "seed": seed,
    }


def _posts(rng: random.Random, count: int, distinct: int) -> list[Post]:
    """`count` posts of `distinct` contents, in no order."""
    contents = [(text(rng, _TEXT), make_image(rng, _SIDE)) for _ in range(distinct)]
    chosen = [contents[number % distinct] for number in range(count)]
    rng.shuffle(chosen)
    return [Post(post_id=f"p-{n}", text=words, images=(image,)) for n, (words, image) in enumerate(chosen)]


async def _seconds(judge: Judge, posts: Sequence[Post]) -> tuple[float, int]:
    """How long all took with AT_ONCE in work, and how many of them were judged themselves; nothing is known before."""
    judge, free = judge.with_policies(judge.pack, None), asyncio.Semaphore(AT_ONCE)

    async def one(post: Post) -> bool:
        async with free:
            return (await judge.judge(post, trace_id="0" * 32)).verdict.duplicate_of is None

    begun = time.perf_counter()
    own = await asyncio.gather(*map(one, posts))
    return time.perf_counter() - begun, sum(own)


if __name__ == "__main__":
    main(run)
