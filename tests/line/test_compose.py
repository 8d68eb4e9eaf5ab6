"""The composition root, with the bundled model."""

import json
from pathlib import Path

import pytest

from moderation_service.app.compose import open_judge
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import EngineSettings, JudgingSettings, Settings, shipped_policies


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
