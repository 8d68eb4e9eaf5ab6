import io
import json

import pytest

from moderation_service.contracts.post import Post
from moderation_service.demo.benchmark import SLICES, benchmark
from moderation_service.evaluation.answers import CLASSES, answers
from moderation_service.evaluation.bootstrap import Bootstrap
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.report import render_report
from moderation_service.evaluation.run import judge_all, with_all_passes
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings, Settings
from tests.judging.conftest import MakeJudge, ask, engine, make_image, make_judge, pack

__all__ = ["ask", "engine", "make_judge", "pack"]  # fixtures of the judge, used here

LABELLED = [
    Labelled(
        Post(post_id="both", text="I sell this", images=(make_image(),)), {"weapon_sale": True, "weapon_display": True}
    ),
    Labelled(Post(post_id="words", text="I sell this"), {"weapon_sale": False}),
    Labelled(Post(post_id="museum", text="in the museum", images=(make_image(),)), {"weapon_display": False}),
]


async def test_posts_are_judged_with_all_passes_and_stay_in_their_order(make_judge: MakeJudge) -> None:
    judging = with_all_passes(Settings()).judging
    judge = await make_judge(**judging.model_dump(include={"attribution", "explain"}))
    out, seen = io.BytesIO(), list[str]()
    run = await judge_all(judge, LABELLED, out, lambda verdict: seen.append(verdict.post_id))
    assert [one.verdict.post_id for one in run.judged] == ["both", "words", "museum"]
    assert sorted(seen) == ["both", "museum", "words"]
    assert len(out.getvalue().splitlines()) == 3
    rows = answers(run.judged)
    told = [CLASSES[at] for at in rows.told]
    assert told == ["image_only", "combined", "none", "context_mitigated"]
    assert rows.joint.tolist() == [0.8, 0.95, 0.1, 0.02]
    assert rows.image.tolist() == [0.8, 0.1, 0.0, 0.8]


async def test_the_bundled_set_goes_through_a_judge_and_has_every_figure_asked_for(make_judge: MakeJudge) -> None:
    judge = await make_judge(attribution="always", explain="never")
    run = await judge_all(judge, list(benchmark(seed=5, scale=0.01)), io.BytesIO())
    assert not run.unjudged
    found = figures_of(run, source="bundled", bootstrap=Bootstrap(resamples=3))
    async with ImageLoader(MediaSettings()) as loader:
        assert "worst errors" in await render_report(run, found, {"weapon_sale": "Sale of weapons"}, loader.load)
    assert found["combined"]["f1"] is not None
    assert found["combined"]["unseen_pictograms_f1"] is not None
    for baseline in ("text_only", "image_only", "either"):
        assert found["xor"]["baselines"][baseline]["balanced_accuracy"] is not None
    assert found["attribution"]["macro_f1"] is not None
    assert found["attribution"]["f1"].keys() == set(CLASSES)
    assert found["calibration"]["ece"] is not None
    assert found["injection"]["worse_share"] is not None
    assert found["abstain"]["rate"] == 0.0
    assert found["slices"].keys() >= SLICES.keys()
    assert all("f1" in each for each in found["slices"].values())
    assert json.dumps(found)
    # this engine calls every image a weapon's: what was said of images that can't be had is "cannot tell"
    assert found["slices"]["missing_picture"]["abstain_rate"] == pytest.approx(1.0)
