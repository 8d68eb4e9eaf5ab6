"""Explanations by real models: one that can talk, and the bundled one, which can not."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from moderation_service.app.compose import open_judge
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.engine.base import ExplainRequest
from moderation_service.policies.model import PolicyThresholds
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import DEMO_MODEL, EngineSettings, JudgingSettings, Settings
from tests.judging.conftest import make_image

RED = np.full((32, 32, 3), (255, 0, 0), np.uint8)
PATIENT_S = 120.0
LESSONS = {
    "The picture shows a weapon. The words offer it.": ExplainRequest(
        "Lightly used", (RED,), "en", ("Sale of weapons; Does it sell a weapon?",), PATIENT_S
    ),
    "图片里没有武器。文字在出售它。": ExplainRequest(
        "九成新", (), "zh", ("武器交易; 是否出售武器？; 仅文字即构成违规",), PATIENT_S
    ),
}


@pytest.fixture
def flagging(pack: PolicyPack) -> PolicyPack:
    """One policy, which every post violates, whatever the model says."""
    (policy,) = (policy for policy in pack.enforced if policy.id == "weapon_sale")
    return PolicyPack((policy.model_copy(update={"thresholds": PolicyThresholds(review=1e-30, block=1.0)}),))


async def verdicts(model: Path, pack: PolicyPack, explain: str) -> list[Verdict]:
    settings = Settings(
        engine=EngineSettings(model=str(model), device="cpu", dtype="float32", prompt="brief", max_context_tokens=1024),
        judging=JudgingSettings.model_validate(
            {
                "attribution": "never",
                "min_label_mass": 0.0,
                "explain": explain,
                "explain_timeout_s": PATIENT_S,
                "calibration": "none",
            }
        ),
    )
    posts = [
        Post(post_id="p-1", text="Lightly used", images=(make_image("red"),)),
        Post(post_id="p-2", text="九成新"),
    ]
    async with open_judge(settings, pack) as judge:
        judged = await asyncio.gather(*(judge.judge(post, trace_id="a" * 32) for post in posts))
    return [one.verdict for one in judged]


async def test_a_model_that_can_talk_explains_without_being_told_to(tmp_path: Path, flagging: PolicyPack) -> None:
    from tests.engine.local.talking import save_talking_checkpoint  # noqa: PLC0415 - torch

    model = save_talking_checkpoint(tmp_path / "talking", LESSONS)
    found = await verdicts(model, flagging, "auto")
    assert [(one.explanation, one.explanation_kind) for one in found] == [(words, "generated") for words in LESSONS]
    unexplained = await verdicts(model, flagging, "never")
    assert [one.policies for one in unexplained] == [one.policies for one in found]
    assert [one.verdict_id for one in unexplained] == [one.verdict_id for one in found]


async def test_the_bundled_model_s_attempts_give_way_to_the_template(flagging: PolicyPack) -> None:
    found = await verdicts(DEMO_MODEL, flagging, "generate")
    assert [one.explanation_kind for one in found] == ["template", "template"]
    assert all(one.explanation for one in found)
