"""A model that does not fit is refused before it is loaded, with the setting to change."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig

from moderation_service.bench.random_model import (
    NINE_B,
    make_checkpoint,
    make_questionnaire,
    make_scorer,
)
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local import attention, memory_check
from moderation_service.engine.local.attention import MATRIX_BYTES
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.memory_check import CUDA_CONTEXT, check_memory, free_bytes, memory_need
from moderation_service.engine.local.quantization import quantize
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
    settings = EngineSettings(model=str(tiny_checkpoint), device="cpu", dtype="float32")
    model = load_checkpoint(settings).model
    assert memory_need(settings, config, torch.float32, CPU).weights == sum(
        weight.nbytes for weight in model.parameters()
    )
    quantize(model, "int8", CPU)
    held = sum(each.nbytes for name, each in model.state_dict().items() if not name.endswith("scale"))
    int8 = settings.model_copy(update={"quantization": "int8"})
    assert memory_need(int8, config, torch.float32, CPU).weights == held


class Living(TorchDispatchMode):
    """Counts the bytes of all tensors that are made under it and live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for storage in (tensor.untyped_storage() for tensor in tree_leaves(made) if isinstance(tensor, torch.Tensor)):
            self._storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._storages = {at: one for at, one in self._storages.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._storages.values()))
        return made


def test_the_activations_of_a_token_are_those_that_are_counted_in_a_forward() -> None:
    shape = replace(NINE_B, hidden=1024, intermediate=3424, heads=8, layers=1, vocabulary=2048)  # a quarter as wide
    shape = replace(shape, vision_hidden=768, vision_heads=6, vision_layers=1, side=392)
    checkpoint = make_checkpoint(shape, "cpu", torch.bfloat16)
    scorer = make_scorer(checkpoint, "post_first")
    questionnaire = make_questionnaire(scorer, 1, 8, random.Random(1))
    words = ScoreRequest("cheap " * 200, (), questionnaire, (0,))
    images = replace(words, text="", images=(np.zeros((392, 392, 3), np.uint8),) * 2)
    images = replace(images, images=(images.images[0], images.images[0] + 1))
    need = memory_need(EngineSettings(), checkpoint.config, torch.bfloat16, CPU)
    for request, computed in ((words, need.a_word), (images, need.an_image_token)):
        scorer.score([words])
        with Living() as living:
            (scored,) = scorer.score([request])
        assert living.peak / scored.tokens == pytest.approx(computed, rel=0.15)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_without_a_kernel_takes_no_more_than_its_matrix(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(attention, "MATRIX_BYTES", 10**6)
    states = attention.Qkv(*(torch.randn(2, heads, 900, 4, dtype=dtype) for heads in (4, 1, 1)))
    with Living() as living:
        values, _ = attention._attend_plainly(states, 0.5, causal=True)
    assert 0.5 < (living.peak - 4 * values.nbytes) / 10**6 < 1.2  # the whole is 65 MB


@pytest.mark.parametrize(
    ("capability", "dtype", "counted"),
    [
        *(((9, 0), torch.bfloat16, 0), ((7, 5), torch.bfloat16, MATRIX_BYTES), ((9, 0), torch.float32, MATRIX_BYTES)),
        *((None, torch.bfloat16, 0), (None, torch.float32, MATRIX_BYTES)),  # of a card that is not here
    ],
)
def test_the_matrix_of_attention_is_counted_where_there_is_no_kernel(
    nine_b: Any, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, dtype: torch.dtype, counted: int
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    need = memory_need(EngineSettings(), nine_b, dtype, torch.device("cuda") if capability else None)
    on_cpu = memory_need(EngineSettings(), nine_b, dtype, CPU)
    assert need.of(4096, 4096) - on_cpu.of(4096, 4096) == counted


@pytest.fixture(scope="session")
def nine_b() -> Any:
    return make_checkpoint(NINE_B, "meta", torch.bfloat16).config


@pytest.mark.parametrize(
    ("card", "settings", "batch"),
    [
        (24, {}, 6912),
        (24, {"layout": "policies_first"}, 6144),
        (16, {"quantization": "int8"}, 9472),
        (16, {"quantization": "int8_dynamic"}, 10_240),  # no weight is widened
        (80, {}, 197_120),
    ],
)
def test_the_9b_fits_a_card_with_batches_of_so_many_tokens(
    nine_b: Any, monkeypatch: pytest.MonkeyPatch, card: int, settings: dict[str, Any], batch: int
) -> None:
    free = card * GB - CUDA_CONTEXT
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: free)
    engine = EngineSettings(model="zai-org/GLM-4.6V-Flash", max_context_tokens=4096, **settings)
    assert memory_need(engine, nine_b, torch.bfloat16, CPU).largest_batch(free, 4096) == batch
    check_memory(engine.model_copy(update={"max_batch_tokens": batch}), nine_b, torch.bfloat16, CPU)
    with pytest.raises(Misconfigured, match=f"to {batch}$"):
        check_memory(engine.model_copy(update={"max_batch_tokens": batch + 256}), nine_b, torch.bfloat16, CPU)


@pytest.mark.parametrize(
    ("free", "settings", "says"),
    [
        (23, {"max_context_tokens": 4096}, r"lower engine.max_batch_tokens from 16384 to \d+$"),
        (
            *(23, {"max_context_tokens": 16384}),
            r"lower engine.max_batch_tokens from 16384 and engine.max_context_tokens from 16384 to \d+$",
        ),
        (23, {"dtype": "float32"}, "set engine.dtype to bfloat16"),
        (16, {}, "set engine.quantization to int8"),
        (8, {"quantization": "int8"}, "choose a smaller engine.model, another engine.device, or a server"),
    ],
)
def test_the_9b_is_told_what_would_help(
    nine_b: Any, monkeypatch: pytest.MonkeyPatch, free: int, settings: dict[str, Any], says: str
) -> None:
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: free * GB)
    dtype = torch.float32 if settings.get("dtype") == "float32" else torch.bfloat16
    with pytest.raises(Misconfigured, match=says) as refused:
        check_memory(EngineSettings(model="zai-org/GLM-4.6V-Flash", **settings), nine_b, dtype, CPU)
    assert f"the {free}.0 GB that are free on cpu" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_weights_that_the_machine_can_not_stage_for_its_card_are_refused(
    nine_b: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: 79 * GB if device.type == "cuda" else 16 * GB)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    with pytest.raises(Misconfigured, match=r"20\.\d GB of weights .* memory first, of which 16\.0 GB are free"):
        check_memory(EngineSettings(model="zai-org/GLM-4.6V-Flash"), nine_b, torch.bfloat16, torch.device("cuda"))


def test_a_containers_limit_counts_and_cached_files_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory_check, "CGROUP", tmp_path)
    machine = free_bytes(CPU)
    files = {"max": "1000000", "current": "900000", "stat": "anon 300000\nfile 600000\n"}
    for name, content in files.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert free_bytes(CPU) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(CPU) == pytest.approx(machine, rel=0.5)


def test_where_free_memory_can_not_be_told_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    monkeypatch.setattr(memory_check, "MEMINFO", tmp_path / "none")
    assert free_bytes(CPU) is None
    load_checkpoint(EngineSettings(model=str(tiny_checkpoint), device="cpu", max_batch_tokens=10**12))
