"""Weights in eight bits: less memory, and scores that move little."""

from pathlib import Path

import pytest
import torch
from torch import nn

from moderation_service.contracts.question import Language, Questionnaire
from moderation_service.engine.base import Scored, ScoreRequest
from moderation_service.engine.checkpoint import load_checkpoint
from moderation_service.engine.int8 import LEVELS, Int8Linear
from moderation_service.engine.local import LocalEngine
from moderation_service.engine.reference import reference_scores
from moderation_service.engine.scorer import Scorer
from moderation_service.settings import EngineSettings
from tests.engine.demo_views import views


def scorer(quantization: str | None) -> Scorer:
    checkpoint = load_checkpoint(EngineSettings(device="cpu", dtype="float32", quantization=quantization))
    return Scorer(checkpoint, "post_first", "brief", max_context_tokens=1024, max_batch_tokens=16384)


def test_a_weight_is_off_by_half_a_level_of_its_row_at_most() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(40, 9)
    with torch.no_grad():
        linear.weight[3] = 0
    whole = Int8Linear(linear)
    back = whole.levels.float() * whole.scale[:, None]
    level = linear.weight.abs().amax(1, keepdim=True) / LEVELS
    assert ((back - linear.weight).abs() <= level / 2 + 1e-7).all()
    states = torch.randn(2, 5, 40)
    assert torch.allclose(whole(states), nn.functional.linear(states, back, linear.bias), atol=1e-5)


def test_every_linear_layer_but_the_head_takes_a_byte_a_weight_and_a_scale_a_row() -> None:
    plain, small = scorer(None).checkpoint.model, scorer("int8").checkpoint.model
    assert [name for name, part in small.named_modules() if isinstance(part, nn.Linear)] == ["lm_head"]
    linear = [part for name, part in plain.named_modules() if isinstance(part, nn.Linear) and name != "lm_head"]

    def held(of: nn.Module) -> int:
        return sum(each.nbytes for each in (*of.parameters(), *of.buffers()))

    saved = sum(3 * part.weight.numel() - 4 * part.out_features for part in linear)
    assert held(plain) - held(small) == saved > 0.45 * held(plain)


def test_the_bundled_model_s_scores_move_little_and_are_those_of_a_forward_of_their_own() -> None:
    requests = views(24)
    plain, small = scorer(None), scorer("int8")
    apart = [
        abs(one.score - other.score)
        for scored, wanted in zip(small.score(requests), plain.score(requests), strict=True)
        for one, other in zip(scored.labels, wanted.labels, strict=True)
    ]
    assert 0 < sum(apart) / len(apart) < 0.02
    found: list[Scored] = small.score(requests[:2])
    for scored, request in zip(found, requests[:2], strict=True):
        stock = reference_scores(small, request)
        assert [one.score for one in scored.labels] == pytest.approx([one.score for one in stock], abs=1e-4)


async def test_the_engine_says_so(tiny_checkpoint: Path, questionnaires: dict[Language, Questionnaire]) -> None:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu", quantization="int8"))
    await engine.start()
    try:
        assert engine.info.quantization == "int8"
        (scored,) = await engine.score([ScoreRequest("hello", (), questionnaires["en"], (0,))])
        assert 0 <= scored.labels[0].score <= 1
    finally:
        await engine.close()
