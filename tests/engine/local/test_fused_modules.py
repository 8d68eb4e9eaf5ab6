"""A model's faster forms have its weights under its names, and compute the same."""

from copy import deepcopy
from pathlib import Path
from runpy import run_path

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from moderation_service.bench.random_model import TINY, make_checkpoint
from moderation_service.engine.local import fused_modules
from tests.engine.local.tiny import MEMBERS, make_config, make_model, make_tokenizer


def silu_mul(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return functional.silu(gate) * up


@pytest.fixture(scope="module", params=["glm4v", "glm4v_moe"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    assert request.param in MEMBERS
    return make_model(make_config(make_tokenizer(), request.param)).requires_grad_(False)


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules()]


@torch.inference_mode()
def test_patches_are_embedded_by_a_product_as_by_the_convolution(model: PreTrainedModel) -> None:
    stock = model.model.visual.patch_embed
    linear = fused_modules.LinearPatchEmbedding(stock)
    patches = 0.1 * torch.randn(64, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(1))
    assert (linear(patches) - stock(patches)).abs().max() < 3e-5
    assert linear.state_dict().keys() == stock.state_dict().keys()


@torch.inference_mode()
def test_every_module_with_a_faster_form_is_found_and_answers_stay(model: PreTrainedModel) -> None:
    swapped = deepcopy(model)
    fused_modules.swap_patch_embedding(swapped)
    fused_modules.swap_norms(swapped)
    fused_modules.swap_mlps(swapped, silu_mul)
    before, after = kinds(model), kinds(swapped)
    assert after.count("FusedRMSNorm") == sum(kind.endswith("RMSNorm") for kind in before) > 6
    assert after.count("GatedMlp") == sum(kind.lower().endswith("mlp") for kind in before) >= 4
    assert after.count("LinearPatchEmbedding") == 1
    assert not {kind for kind in after if kind.startswith("Glm4v") and kind.lower().endswith(("norm", "mlp", "embed"))}
    assert swapped.state_dict().keys() == model.state_dict().keys()
    ids = torch.arange(20)[None]
    answers = [each(input_ids=ids, use_cache=False).logits for each in (model, swapped)]
    assert (answers[0] - answers[1]).abs().max() < 1e-4
    patches, grid = torch.randn(16, 3 * 2 * 14 * 14), torch.tensor([[1, 4, 4]])
    features = [each.model.visual(patches, grid_thw=grid).pooler_output for each in (model, swapped)]
    assert (features[0] - features[1]).abs().max() < 1e-4


@torch.inference_mode()
def test_a_norm_in_one_kernel_is_the_model_s_within_rounding(model: PreTrainedModel) -> None:
    norm = deepcopy(model.model.language_model.norm)
    norm.weight.uniform_(0.5, 2)
    states = torch.randn(7, 64, generator=torch.Generator().manual_seed(1)) * 3
    for dtype, within in ((torch.float32, 1e-6), (torch.bfloat16, 0.02)):
        stock = norm.to(dtype)
        difference = (fused_modules.FusedRMSNorm(stock)(states.to(dtype)) - stock(states.to(dtype))).abs()
        assert (difference / stock(states.to(dtype)).abs().clamp_min(1)).max() <= within


def test_on_a_cpu_norms_and_mlps_are_the_model_s_own_and_round_as_ever() -> None:
    model = make_checkpoint(TINY).model  # as the loader makes one
    found = kinds(model)
    assert "LinearPatchEmbedding" in found
    assert not {"FusedRMSNorm", "GatedMlp"} & set(found)


@pytest.mark.parametrize("size", [1, 96, 1500])
def test_the_kernel_of_the_gated_silu_computes_it_of_two_halves(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """By Triton's interpreter: a kernel needs a GPU."""
    pytest.importorskip("triton", reason="Triton is for Linux")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    kernel = run_path(str(Path(fused_modules.__file__).with_name("triton_kernels.py")))["silu_mul"]
    for shape in ((1, 5, 2 * size), (0, 2 * size)):
        gate, up = torch.randn(shape, generator=torch.Generator().manual_seed(1)).chunk(2, dim=-1)
        found = kernel(gate, up)
        assert found.shape == gate.shape
        assert torch.allclose(found, silu_mul(gate, up), atol=1e-6)


def test_where_the_kernel_can_t_be_built_the_model_s_own_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert fused_modules.fused_silu_mul(torch.device("cpu")) is None
    assert "SiLU is not fused" in capsys.readouterr().out
