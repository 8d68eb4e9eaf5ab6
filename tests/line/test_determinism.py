"""The same posts, however batched, give the same verdicts: ids and decisions, and scores within the tolerance."""

import asyncio
import random
from itertools import combinations

import pytest

from moderation_service.app.compose import open_judge
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo.benchmark import benchmark
from moderation_service.evaluation.replay import replayed
from moderation_service.evaluation.verdict_file import RecordedVerdict
from moderation_service.judging.calibration import Calibration
from moderation_service.policies.pack import load_pack
from moderation_service.settings import EngineSettings, JudgingSettings, Settings, shipped_policies

WAYS = ((16384, 16), (256, 1), (1024, 1000))
"""`engine.max_batch_tokens`, and posts judged at once: in the last way all."""


async def run(engine: EngineSettings, at_once: int, seed: int) -> tuple[dict[str, Verdict], Calibration]:
    """The verdicts on some posts, in an order of its own, and what they were calibrated with."""
    posts = [one.post for one in benchmark(seed=22, scale=0.004)]
    order = random.Random(seed).sample(posts, len(posts))
    free = asyncio.Semaphore(at_once)
    settings = Settings(engine=engine, judging=JudgingSettings(attribution="always"))
    async with open_judge(settings, load_pack(shipped_policies(), images=False)) as judge:

        async def one(post: Post) -> Verdict:
            async with free:
                return (await judge.judge(post, trace_id="0" * 32)).verdict

        return {verdict.post_id: verdict for verdict in await asyncio.gather(*map(one, order))}, judge.calibration


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("layout", "dtype"), [("post_first", "float32"), ("policies_first", "float32"), ("post_first", "bfloat16")]
)
async def test_runs_however_batched_and_ordered_give_the_same_verdicts(layout: str, dtype: str) -> None:
    runs = []
    for seed, (tokens, at_once) in enumerate(WAYS):
        engine = EngineSettings.model_validate({"layout": layout, "dtype": dtype, "max_batch_tokens": tokens})
        verdicts, calibration = await run(engine, at_once, seed)
        runs.append(verdicts)
    assert any(image for verdict in runs[0].values() for image in verdict.content.images)
    assert len({verdict.decision for verdict in runs[0].values()}) > 1
    for one, other in combinations(runs, 2):
        assert one.keys() == other.keys()
        for name in one:
            found = replayed(RecordedVerdict(1, one[name]), other[name], calibration)
            assert found.result == "same", (name, found.differences)
