"""A model that does not fit is refused before it is loaded, with the setting to change."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from moderation_service.bench.engine_shape import NINE_B, make_checkpoint
from moderation_service.engine import fits
from moderation_service.engine.checkpoint import load_checkpoint
from moderation_service.engine.fits import check_fits, free_bytes, needed
from moderation_service.engine.int8 import quantize
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings

CPU = torch.device("cpu")
GB = 10**9


def test_a_batch_too_large_for_this_machine_is_refused_before_any_weight_is_read(tiny_checkpoint: Path) -> None:
    settings = EngineSettings(model=str(tiny_checkpoint), device="cpu", max_batch_tokens=10**12)
    with pytest.raises(Misconfigured, match=r"free on cpu; lower engine.max_batch_tokens from 1000000000000 to \d+$"):
        load_checkpoint(settings)


def test_the_need_is_what_the_weights_take(tiny_checkpoint: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    model = load_checkpoint(EngineSettings(model=str(tiny_checkpoint), device="cpu", dtype="float32")).model
    assert needed(config, torch.float32, None).weights == sum(weight.nbytes for weight in model.parameters())
    quantize(model)
    held = sum(each.nbytes for name, each in model.state_dict().items() if not name.endswith("scale"))
    assert needed(config, torch.float32, "int8").weights == held


@pytest.mark.parametrize(
    ("free", "settings", "says"),
    [
        (23, {}, "lower engine.max_batch_tokens from 16384 to"),
        (22, {"dtype": "float32"}, "set engine.dtype to bfloat16"),
        (16, {}, "set engine.quantization to int8"),
        (8, {"quantization": "int8"}, "choose a smaller engine.model, another engine.device, or a server"),
    ],
)
def test_the_9b_is_told_what_would_help(
    monkeypatch: pytest.MonkeyPatch, free: int, settings: dict[str, str], says: str
) -> None:
    config = make_checkpoint(NINE_B, "meta", torch.bfloat16).config
    monkeypatch.setattr(fits, "free_bytes", lambda device: free * GB)
    dtype = torch.float32 if settings.get("dtype") == "float32" else torch.bfloat16
    with pytest.raises(Misconfigured, match=says) as refused:
        check_fits(EngineSettings(model="zai-org/GLM-4.6V-Flash", **settings), config, dtype, CPU)
    assert f"the {free}.0 GB that are free on cpu" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_the_9b_fits_on_a_card_of_80_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_checkpoint(NINE_B, "meta", torch.bfloat16).config
    monkeypatch.setattr(fits, "free_bytes", lambda device: 79 * GB)
    check_fits(EngineSettings(model="zai-org/GLM-4.6V-Flash"), config, torch.bfloat16, CPU)
    assert needed(config, torch.bfloat16, None).weights == pytest.approx(20.6 * GB, rel=0.02)


def test_where_free_memory_can_not_be_told_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    monkeypatch.setattr(fits, "MEMINFO", tmp_path / "none")
    assert free_bytes(CPU) is None
    load_checkpoint(EngineSettings(model=str(tiny_checkpoint), device="cpu", max_batch_tokens=10**12))
