"""Weights in eight bits: less memory, and scores that move little."""

from pathlib import Path
from runpy import run_path

import pytest
import torch
from torch import nn

from benchmarks.full_forward import full_forward_scores
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.engine.base import ScoreRequest, ScoreResult
from moderation_service.engine.local import quantization
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.engine.local.quantization import LAYERS, Int8Linear, Quantization, check_quantization, quantize
from moderation_service.engine.local.scorer import Scorer
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings
from tests.engine.local.demo_views import views

ON_CPU: tuple[Quantization, ...] = ("int8", "int8_dynamic")


def scorer(quantization: Quantization | None) -> Scorer:
    checkpoint = load_checkpoint(EngineSettings(device="cpu", dtype="float32", quantization=quantization))
    return Scorer(checkpoint, "post_first", "brief", max_context_tokens=1024, max_batch_tokens=16384)


def test_a_weight_is_off_by_half_a_level_of_its_row_at_most() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(40, 9)
    with torch.no_grad():
        linear.weight[3] = 0
    whole = Int8Linear(linear)
    back = whole.levels.float() * whole.scale[:, None]
    level = linear.weight.abs().amax(1, keepdim=True) / 127
    assert ((back - linear.weight).abs() <= level / 2 + 1e-7).all()
    states = torch.randn(2, 5, 40)
    assert torch.allclose(whole(states), nn.functional.linear(states, back, linear.bias), atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "within"), [("int8", 0.01), ("int8_dynamic", 0.015), ("fp8", 0.06)])
def test_a_product_is_within_what_eight_bits_can_tell(kind: Quantization, within: float, *, bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias, dtype=torch.bfloat16)
    states = torch.randn(2, 5, 64, dtype=torch.bfloat16)
    states[1, 2] = 0
    wanted, found = linear(states), LAYERS[kind](linear)(states)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert (found - wanted).abs().max() <= within * wanted.abs().max()
    assert torch.equal(found[1, 2], wanted[1, 2])


@torch.inference_mode()
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_product_of_what_is_no_number_is_none(kind: Quantization, broken: float) -> None:
    states = torch.ones(2, 64, dtype=torch.bfloat16)
    states[1, 5] = broken
    found = LAYERS[kind](nn.Linear(64, 48, dtype=torch.bfloat16))(states)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().any()


def test_a_layer_whose_sides_no_kernel_takes_stays_as_it_is() -> None:
    odd = nn.Sequential(nn.Linear(24, 32), nn.Linear(32, 32))
    for kind, replaced in (("int8", 2), ("int8_dynamic", 1), ("fp8", 1)):
        model = nn.Sequential(*odd)
        quantize(model, kind, torch.device("cpu"))
        assert sum(not isinstance(part, nn.Linear) for part in model) == replaced


@pytest.mark.filterwarnings("ignore:invalid value encountered in (cast|divide)")  # by the interpreter
@pytest.mark.parametrize("size", [1, 96, 1500])
def test_the_kernels_quantize_and_rescale_as_torch_does(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """By Triton's interpreter: a kernel needs a GPU."""
    pytest.importorskip("triton", reason="Triton is for Linux")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    kernels = run_path(str(Path(quantization.__file__).with_name("triton_kernels.py")))
    random = torch.Generator().manual_seed(1)
    rows = torch.randn(5, size, generator=random)
    rows[2] = 0
    rows[3, size // 2], rows[4, -1] = torch.nan, -torch.inf
    for dtype in (torch.int8, torch.float8_e4m3fn):
        levels, scales = kernels["quantize_rows"](rows, dtype)
        wanted, scales_wanted = quantization.quantize_rows(rows, dtype)
        torch.testing.assert_close(scales, scales_wanted, rtol=0, atol=0, equal_nan=True)
        assert (scales[3].isnan(), scales[4].isinf()) == (True, True)  # and so is all that is computed of them
        if dtype == torch.int8:  # the interpreter rounds float8 wrong where the exponent grows
            assert (levels[:3].int() - wanted[:3].int()).abs().max() <= 1  # of a tie
    products = torch.randint(-(2**24), 2**24, (5, size), generator=random, dtype=torch.int32)
    of_rows, of_columns = torch.rand(5, 1, generator=random), torch.rand(size, generator=random)
    for dtype in (torch.float32, torch.bfloat16):
        found = kernels["rescale"](products, of_rows, of_columns, dtype)
        torch.testing.assert_close(found, quantization.rescale(products, of_rows, of_columns, dtype))


def test_a_device_that_has_no_float8_is_refused_before_any_weight_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = "engine.quantization fp8: needs a GPU of compute capability 8.9 or newer"
    with pytest.raises(Misconfigured, match=f"{needs}.* and engine.device is cpu; set it to int8_dynamic or int8"):
        load_checkpoint(EngineSettings(device="cpu", quantization="fp8"))
    card = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    with pytest.raises(Misconfigured, match=f"{needs}.*, and cuda:0 has 8.6; set it"):
        check_quantization("fp8", torch.bfloat16, card)
    check_quantization("int8_dynamic", torch.bfloat16, card)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    check_quantization("fp8", torch.bfloat16, card)
    with pytest.raises(Misconfigured, match=r"needs engine\.dtype bfloat16"):
        check_quantization("fp8", torch.float32, card)


def test_every_linear_layer_but_the_head_takes_a_byte_a_weight_and_a_scale_a_row() -> None:
    plain, small = scorer(None).checkpoint.model, scorer("int8").checkpoint.model
    assert [name for name, part in small.named_modules() if isinstance(part, nn.Linear)] == ["lm_head"]
    linear = [part for name, part in plain.named_modules() if isinstance(part, nn.Linear) and name != "lm_head"]

    def held(of: nn.Module) -> int:
        return sum(each.nbytes for each in (*of.parameters(), *of.buffers()))

    saved = sum(3 * part.weight.numel() - 4 * part.out_features for part in linear)
    assert held(plain) - held(small) == saved > 0.45 * held(plain)


@pytest.mark.parametrize("kind", ON_CPU)
def test_the_bundled_model_s_scores_move_little_and_are_those_of_a_forward_of_their_own(kind: Quantization) -> None:
    requests = views(24)
    plain, small = scorer(None), scorer(kind)
    apart = [
        abs(one.score - other.score)
        for scored, wanted in zip(small.score(requests), plain.score(requests), strict=True)
        for one, other in zip(scored.labels, wanted.labels, strict=True)
    ]
    assert 0 < sum(apart) / len(apart) < 0.02
    found: list[ScoreResult] = small.score(requests[:2])
    within = 1e-4 if kind == "int8" else 0.02  # a rounding apart, an activation may be a level apart
    for scored, request in zip(found, requests[:2], strict=True):
        stock = full_forward_scores(small, request)
        assert [one.score for one in scored.labels] == pytest.approx([one.score for one in stock], abs=within)


@pytest.mark.parametrize("kind", ON_CPU)
async def test_the_engine_says_so(
    tiny_checkpoint: Path, questionnaires: dict[Language, Questionnaire], kind: Quantization
) -> None:
    engine = LocalEngine(EngineSettings(model=str(tiny_checkpoint), device="cpu", quantization=kind))
    await engine.start()
    try:
        assert engine.info.quantization == kind
        (scored,) = await engine.score([ScoreRequest("hello", (), questionnaires["en"], (0,))])
        assert 0 <= scored.labels[0].score <= 1
    finally:
        await engine.close()
