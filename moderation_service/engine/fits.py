"""Whether a model and its largest batch fit in a device's memory, told before any weight is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from moderation_service.engine.vision import KEPT_BYTES
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings

MEMINFO = Path("/proc/meminfo")
LEAST_BATCH = 2048
"""Tokens: a post with a picture and its policies. Fewer are no advice."""

PATCHES_A_TOKEN = 4
GB = 1e9


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of the weights, of a batch's activations a token, and of all that is kept beside them."""

    weights: int
    a_token: int
    kept: int

    def of(self, batch_tokens: int) -> int:
        """All of it."""
        return self.weights + self.a_token * batch_tokens + self.kept


def check_fits(settings: EngineSettings, config: Any, dtype: torch.dtype, device: torch.device) -> None:  # noqa: ANN401
    """Raises Misconfigured, with the setting to change, for a model that can't work in the memory that is free."""
    free = free_bytes(device)
    if free is None:
        return
    need = needed(config, dtype, settings.quantization)
    if need.of(settings.max_batch_tokens) <= free:
        return
    msg = (
        f"engine.model {settings.model}: {need.weights / GB:.1f} GB of weights and"
        f" {(need.of(settings.max_batch_tokens) - need.weights) / GB:.1f} GB to work with do not fit in the"
        f" {free / GB:.1f} GB that are free on {device}; {_advice(settings, config, dtype, free)}"
    )
    raise Misconfigured(msg)


def free_bytes(device: torch.device) -> int | None:
    """Of a GPU, or of the machine as Linux tells it; None where it can't be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not MEMINFO.exists():
        return None
    lines = MEMINFO.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def needed(config: Any, dtype: torch.dtype, quantization: str | None) -> Need:  # noqa: ANN401 - of any member
    """By the model's own modules, of which none is made; activations by the widest layer of words or of patches."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    size, text, vision = dtype.itemsize, config.text_config, config.vision_config
    halved = sum(layer.weight.numel() for layer in _linear(model)) if quantization else 0
    words = 3 * text.intermediate_size + 4 * text.hidden_size
    patches = PATCHES_A_TOKEN * (3 * vision.out_hidden_size + 4 * vision.hidden_size)
    heads = text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    opening = 2 * text.num_hidden_layers * heads * text.max_position_embeddings
    return Need(
        weights=sum(weight.nbytes for weight in model.parameters()) - halved * (size - 1),
        a_token=max(words, patches) * size,
        kept=KEPT_BYTES + opening * size,
    )


def _linear(model: nn.Module) -> Iterator[nn.Linear]:
    return (part for name, part in model.named_modules() if isinstance(part, nn.Linear) and name != "lm_head")


def _advice(settings: EngineSettings, config: Any, dtype: torch.dtype, free: int) -> str:  # noqa: ANN401 - as above
    """The least change that helps."""
    need = needed(config, dtype, settings.quantization)
    room = (free - need.weights - need.kept) // need.a_token
    if room >= LEAST_BATCH:
        return f"lower engine.max_batch_tokens from {settings.max_batch_tokens} to {room // 256 * 256}"
    if dtype == torch.float32 and needed(config, torch.bfloat16, settings.quantization).of(LEAST_BATCH) <= free:
        return "set engine.dtype to bfloat16"
    if settings.quantization is None and needed(config, dtype, "int8").of(LEAST_BATCH) <= free:
        return "set engine.quantization to int8"
    return "choose a smaller engine.model, another engine.device, or a server (engine.kind = openai)"
