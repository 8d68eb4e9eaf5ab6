"""The composition root, with the bundled model."""

import json
from pathlib import Path

import pytest

from moderation_service.app.compose import open_judge
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import (
    BareSettings,
    EngineSettings,
    JudgingSettings,
    LayoutName,
    Settings,
    shipped_policies,
)


async def test_a_calibration_is_taken_with_the_prompts_it_was_fitted_on_and_refused_with_others(tmp_path: Path) -> None:
    pack = load_pack(shipped_policies())
    async with open_judge(Settings(), pack) as judge:
        asked = judge.model
    path = tmp_path / "calibration.json"
    fitted_on = {
        "model": asked.name,
        "revision": asked.revision,
        "prompt_digest": asked.prompt_digest,
        "data": "d",
        "data_digest": f"sha256:{'0' * 64}",
        "posts": 1,
        "target": "none",
    }
    path.write_text(json.dumps({"fitted_on": fitted_on, "policies": {}}), encoding="utf-8")
    judging = JudgingSettings(calibration=path)
    async with open_judge(Settings(judging=judging), pack) as judge:
        assert judge.model.calibration_id
    with pytest.raises(Misconfigured, match=f"was fitted on prompt {asked.prompt_digest}"):
        async with open_judge(Settings(judging=judging, engine=EngineSettings(layout="policies_first")), pack):
            pass


@pytest.mark.parametrize("layout", ["post_first", "policies_first"])
async def test_the_bundled_model_comes_with_a_calibration_of_its_own(layout: LayoutName) -> None:
    settings = BareSettings(engine=EngineSettings(layout=layout))
    async with open_judge(settings, load_pack(shipped_policies())) as judge:
        made = judge.calibration.fitted_on
        assert made
        assert judge.model.calibration_id == judge.calibration.calibration_id
        assert (made.revision, made.prompt_digest) == (judge.model.revision, judge.model.prompt_digest)
        assert judge.calibration.policies.keys() == {one.id for one in judge.pack.policies}


async def test_the_bundled_calibration_is_left_out_with_other_prompts_and_on_request() -> None:
    pack = load_pack(shipped_policies())
    asked = EngineSettings(max_context_tokens=900)
    for settings in (
        BareSettings(engine=asked),
        BareSettings(judging=JudgingSettings(calibration="none")),
    ):
        async with open_judge(settings, pack) as judge:
            assert judge.model.calibration_id is None


async def test_the_bundled_calibration_says_nothing_of_policies_that_are_the_owners_own(tmp_path: Path) -> None:
    (tmp_path / "doxxing.yaml").write_bytes((shipped_policies() / "doxxing.yaml").read_bytes())
    async with open_judge(BareSettings(), load_pack(tmp_path, images=False)) as judge:
        assert judge.model.calibration_id
