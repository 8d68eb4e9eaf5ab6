"""`benchmarks.engine` asks by every way, `moderation bench engine` by the layouts. No speed is held to a bound here."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.engine import compare
from benchmarks.engine_ways import DecisionPipeline, Prefill
from moderation_service.bench.engine_case import LAYOUTS, Arithmetic, Load
from moderation_service.bench.random_model import (
    NINE_B,
    SMALL,
    TINY,
    make_checkpoint,
    make_questionnaire,
    make_requests,
    make_scorer,
)
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.settings import DEMO_MODEL, EngineSettings, LayoutName
from tests.benchmarks.running import CONDITIONS, figures_of
from tests.engine.local.checkpoint_server import CheckpointServer
from tests.engine.openai_server import serving
from tests.line.service import moderation

EXACT = 1e-4


@pytest.mark.timeout(300)
async def test_engine_asks_by_every_way_and_all_agree() -> None:
    options = ("--shape", "tiny", "--rounds", "1", "--posts", "2")
    printed = await figures_of("engine", *options)
    ratios = printed["ratio"]
    assert ratios["policies_first_over_post_first"].keys() == {"8x60", "32x60", "8x300", "32x300"}
    assert ratios["prefill_per_policy"] > 0
    assert ratios["generate_per_policy"] > 0
    assert (ratios["decision_pipeline"] is None) == (DecisionPipeline.missing() is not None)
    assert ratios["vllm"] is None
    assert printed["not_asked"].keys() >= {"vllm"}
    assert printed["max_abs_score_difference"] < EXACT
    assert printed["bundled"]["max_abs_score_difference"].keys() == {"post_first", "policies_first"}
    assert max(printed["bundled"]["max_abs_score_difference"].values()) < EXACT
    for effect in (printed["int8"], printed["bundled"]["int8"]):
        assert 0 < effect["mean_abs_score_difference"] <= effect["max_abs_score_difference"] < 1
        assert effect["weight_bytes"] < effect["weight_bytes_before"]
    assert {"flop_bound_share", "roofline_share", "peak_memory_bytes"} <= printed.keys()


@pytest.mark.timeout(300)
async def test_an_owner_measures_both_layouts_and_int8() -> None:
    code, out, err = await moderation("bench", "engine", "--shape", "tiny", "--rounds", "1", "--posts", "2")
    assert code == 0, err
    printed = json.loads(out)
    assert printed.keys() >= CONDITIONS
    assert printed["ratio"]["policies_first_over_post_first"].keys() == printed["cases"].keys()
    for case in printed["cases"].values():
        assert case.keys() == set(LAYOUTS)
        assert all(figures["posts_per_second"] > 0 for figures in case.values())
    assert printed["int8"]["weight_bytes"] < printed["int8"]["weight_bytes_before"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_answers_of_the_random_model_are_not_alike(layout: LayoutName) -> None:
    """Were they, their largest difference would prove nothing."""
    scorer = make_scorer(make_checkpoint(TINY), layout)
    questionnaire = make_questionnaire(scorer, 3, 20, random.Random(1))
    scores = [
        label.score for scored in scorer.score(make_requests(questionnaire, 2, 112, 1)) for label in scored.labels
    ]
    assert min(abs(one - other) for at, one in enumerate(scores) for other in scores[:at]) > EXACT


def test_policies_are_as_long_as_stated() -> None:
    scorer = make_scorer(make_checkpoint(TINY), "post_first")
    for tokens in (60, 300):
        questions = make_questionnaire(scorer, 4, tokens, random.Random(1)).questions
        lengths = [len(scorer.tokenizer.encode_trusted(question.question)) for question in questions]
        assert all(tokens <= length < tokens + 8 for length in lengths)
        assert len({question.question for question in questions}) == 4


def test_the_arithmetic_is_what_a_prefill_computes() -> None:
    """Every matrix product; of pairs of tokens the model computes those that a causal mask hides as well."""
    scorer = make_scorer(make_checkpoint(TINY), "post_first")
    questionnaire = make_questionnaire(scorer, 2, 20, random.Random(1))
    (request,) = make_requests(questionnaire, 1, 112, 1)
    prefix = scorer.prefix(questionnaire)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        Prefill(scorer).score([request])
    post = scorer.post_tokenizer.tokenize(request.text, request.images, prefix.room)
    suffixes = [len(suffix) for suffix in prefix.suffixes]
    arithmetic = Arithmetic.of(scorer.checkpoint.model)
    products = replace(arithmetic, a_pair=0, a_patch_pair=0).apart([post], len(prefix.ids), suffixes)
    by_kind = {str(kind): count for kind, count in counted.get_flop_counts()["Global"].items()}
    of_pairs = by_kind.pop("aten.bmm") + by_kind.pop("aten._scaled_dot_product_flash_attention_for_cpu")  # of patches
    assert sum(by_kind.values()) == products
    lengths = [len(prefix.ids) + len(post.ids) + suffix for suffix in suffixes]
    images = replace(arithmetic, a_patch=0, an_image_token=0).images(post) * len(suffixes)
    whole = images + sum(length * length * arithmetic.a_pair for length in lengths)
    assert of_pairs == pytest.approx(whole, rel=0.02)  # the model's angles are products too


def test_the_shapes_are_the_stated_ones() -> None:
    parameters = sum(weight.numel() for weight in make_checkpoint(SMALL).model.parameters())
    assert parameters == pytest.approx(24e6, rel=0.02)
    assert (SMALL.hidden, SMALL.layers, SMALL.side) == (384, 8, 448)
    with torch.device("meta"):
        large = make_checkpoint(NINE_B, "meta", torch.bfloat16)
    assert sum(weight.numel() for weight in large.model.parameters()) == pytest.approx(10.3e9, rel=0.02)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # the family's processor, on the server
async def test_a_server_with_the_bundled_model_is_asked_the_same() -> None:
    async with serving(CheckpointServer(DEMO_MODEL)) as url:
        checkpoint = load_checkpoint(EngineSettings(device="cpu"))
        case = await asyncio.to_thread(compare, checkpoint, Load(2, 20, 2, 112, 1, 1), server=(url, "judge"))
    for layout in LAYOUTS:
        assert case.measured.rates[f"vllm_{layout}"] > 0
        assert case.differences[f"vllm_{layout}"] < EXACT
