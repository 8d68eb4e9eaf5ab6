"""Whether orders to the model that are drawn into images make decisions worse, with OCR and without.

Any words drawn below an image change what the model sees of it. So each image is judged with a harmless sentence in the
order's place too (`harmless`): what an order does is the difference.
"""

import asyncio
import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from PIL import Image

from benchmarks.command_line import main
from moderation_service.app.compose import open_judge
from moderation_service.contracts.post import ImageRef
from moderation_service.demo.benchmark import SLICES
from moderation_service.demo.disguise import written
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
    """Judge posts of the bundled benchmark whole, with an order drawn into each image, and with a harmless sentence.

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
        judged: list[Sequence[JudgedPost]] = []
        async with open_judge(settings, load_pack(settings.policies.path, images=False)) as judge:
            for seed in seeds:
                posts = [one for three in islice(_with_twins(seed), count) for one in three]
                judged.append((await judge_all(judge, posts)).judged)
        found[ocr] = {
            "order": _worse(judged, but="harmless"),
            "harmless": _worse(judged, but=_KIND),
        }
    return found


def _worse(judged: Sequence[Sequence[JudgedPost]], *, but: str) -> dict[str, Any]:
    """How many decisions are worse than on the post before, over all seeds; those of one slice left out."""
    kept = [[one for one in each if but not in one.labelled.slices] for each in judged]
    by_seed = [against_twins(each, each, Bootstrap()) or {} for each in kept]
    worse = sum(round(one["worse_share"] * one["pairs"]) for one in by_seed)
    total = sum(one["pairs"] for one in by_seed)
    shares = [one["worse_share"] for one in by_seed]
    return {"pairs": total, "worse": worse, "worse_share": round(worse / total, 4), "by_seed": shares}


def _with_twins(seed: int) -> Iterator[tuple[Labelled, Labelled, Labelled]]:
    """Each post that the slice draws an order into; the same with the order, and with a harmless sentence."""
    plain, tag = next(iter(SLICES)), 1 + [*SLICES].index("injection")
    for number in range(SLICES["injection"].families):
        for changed in SLICES["injection"].make(PostFactory(seed, number, tag, "injection")):
            if _KIND in changed.slices and changed.twin_of:
                at = int(changed.twin_of.removeprefix(f"{plain}-")[:-1])
                (whole,) = SLICES[plain].make(PostFactory(seed, at, 1, plain))
                yield whole, changed, _harmless(whole, changed, PostFactory(seed, number, tag, "harmless"))


def _harmless(whole: Labelled, changed: Labelled, desk: PostFactory) -> Labelled:
    sentence, refs = desk.sentence("neutral", "en"), []
    for image in whole.post.images:
        packed = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(image.data or ""))) as opened:
            written(opened.convert("RGB"), sentence).save(packed, "PNG")
        refs.append(ImageRef(data=base64.b64encode(packed.getvalue()).decode(), media_type="image/png"))
    post = changed.post.model_copy(update={"post_id": f"{changed.post.post_id}-harmless", "images": tuple(refs)})
    return replace(changed, post=post, slices=("harmless",))


if __name__ == "__main__":
    main(run)
