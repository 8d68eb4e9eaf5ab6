"""Whether orders to the model that are drawn into images make decisions worse, with OCR and without."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks.command_line import main
from moderation_service.app.compose import open_judge
from moderation_service.demo.benchmark import SLICES
from moderation_service.demo.post_factory import PostFactory
from moderation_service.evaluation.bootstrap import Bootstrap
from moderation_service.evaluation.decisions import against_twins
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost, judge_all
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, JudgingSettings, MediaSettings

_KIND = "injection_picture"
_WAYS = ("off", "auto")


def run(*, pairs: int = 100, seeds: int = 5, first_seed: int = 7101) -> dict[str, Any]:
    """Judge posts of the bundled benchmark whole, and with an order drawn into each image.

    Args:
        pairs: Of a post and the same with an order, of each seed; 100 at most are different.
        seeds: As many, one after the other.
        first_seed: The first of them.
    """
    return asyncio.run(_run(pairs, range(first_seed, first_seed + seeds)))


async def _run(count: int, seeds: range) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ocr in _WAYS:
        settings = BareSettings(media=MediaSettings(ocr=ocr), judging=JudgingSettings(explain="never"))
        judged: list[list[JudgedPost]] = []
        async with open_judge(settings, load_pack(settings.policies.path, images=False)) as judge:
            for seed in seeds:
                posts = [one for pair in islice(_pairs(seed), count) for one in pair]
                judged.append(list((await judge_all(judge, posts)).judged))
        by_seed = [against_twins(each, each, Bootstrap()) or {} for each in judged]
        worse = sum(round(one["worse_share"] * one["pairs"]) for one in by_seed)
        total = sum(one["pairs"] for one in by_seed)
        found[ocr] = {
            "pairs": total,
            "worse": worse,
            "worse_share": round(worse / total, 4),
            "by_seed": [one["worse_share"] for one in by_seed],
        }
    return found


def _pairs(seed: int) -> Iterator[tuple[Labelled, Labelled]]:
    """Each post of the slice whose order is in the image, behind the post that it was made from."""
    plain, tag = next(iter(SLICES)), 1 + [*SLICES].index("injection")
    for number in range(SLICES["injection"].families):
        for changed in SLICES["injection"].make(PostFactory(seed, number, tag, "injection")):
            if _KIND in changed.slices and changed.twin_of:
                at = int(changed.twin_of.removeprefix(f"{plain}-")[:-1])
                (whole,) = SLICES[plain].make(PostFactory(seed, at, 1, plain))
                yield whole, changed


if __name__ == "__main__":
    main(run)
