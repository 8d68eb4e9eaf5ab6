"""Memory by part, computed from a checkpoint's configuration: what does not fit is refused before any weight is read.

Activations were counted tensor by tensor (`pytest tests/engine/local/test_memory_check.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from moderation_service.engine.base import MAX_CACHED_PREFIXES
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.local.attention import MATRIX_BYTES, is_plain
from moderation_service.engine.local.image_encoder import CACHE_BYTES
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")

MAX_CACHED_CONTEXTS = 2
"""Kept prefixes have at most so many contexts' tokens: packs that leave half of it to the post are all kept."""

INSTRUCTION_TOKENS = 256
"""More than a prefix has in the layout `post_first`."""

ANSWERS_A_PROJECTION = 256
"""Answers projected onto the vocabulary at once: 155 MB of float32 for the family's 151,552 tokens."""

RESERVE = 500_000_000
"""Bytes for cuBLAS workspaces, kernels that are loaded later, and fragmentation. An assumption, not measured."""

CUDA_CONTEXT = 500_000_000
"""Bytes that a card lacks of its nominal size once a process uses it. An assumption; of a card at hand it is known."""

LEAST_BATCH, MOST_BATCH = 2048, 262_144
"""Tokens: a post with an image and its policies, fewer of which are no advice; and more than any card holds."""

PATCHES_A_TOKEN = 4
STEP = 256  # tokens to which a batch is rounded down
GB = 1e9


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes by part. `a_word` and `an_image_token` are activations, `cached` keys and values, of a token of a batch.

    `widened` is the one weight that eight bits are widened to at a time, `answers` the logits of a projection, `matrix`
    those of attention where no kernel does without, `kept_contexts` how many contexts' tokens the kept prefixes have.
    """

    weights: int
    widened: int
    a_word: int
    an_image_token: int
    cached: int
    answers: int
    matrix: int
    kept_contexts: int

    def parts(self, batch: int, context: int) -> dict[str, int]:
        """All of it, by name, for batches of `batch` tokens and posts of `context`."""
        forward = max(batch, context)  # a post that is longer than a batch is asked one question at a time
        a_token = max(self.a_word, self.an_image_token)
        prefixes = max(MAX_CACHED_PREFIXES * INSTRUCTION_TOKENS, self.kept_contexts * context)
        return {
            "weights": self.weights,
            "activations of a batch": max(a_token * forward, self.answers) + self.widened + self.matrix,
            "KV cache": self.cached * (prefixes + forward),
            "image features kept": CACHE_BYTES,
            "workspaces and fragmentation": RESERVE,
        }

    def of(self, batch: int, context: int) -> int:
        """All of it."""
        return sum(self.parts(batch, context).values())

    def largest_batch(self, free: int, context: int) -> int:
        """The most tokens of a batch that fit in `free` bytes, with a context that is no longer; 0 where none do."""
        tried = range(MOST_BATCH, 0, -STEP)
        return next((batch for batch in tried if self.of(batch, min(context, batch)) <= free), 0)


def check_memory(settings: EngineSettings, config: Any, dtype: torch.dtype, device: torch.device) -> None:  # noqa: ANN401
    """Raises Misconfigured, with the setting to change, for a model that can't work in the memory that is free."""
    free = free_bytes(device)
    if free is None:
        return
    need, context = memory_need(settings, config, dtype, device), context_tokens_of(settings, config)
    whole = need.of(settings.max_batch_tokens, context)
    if whole > free:
        msg = (
            f"engine.model {settings.model}: {need.weights / GB:.1f} GB of weights and"
            f" {(whole - need.weights) / GB:.1f} GB to work with do not fit in the"
            f" {free / GB:.1f} GB that are free on {device}; {advice(settings, config, dtype, device, free)}"
        )
        raise Misconfigured(msg)
    host = free_bytes(torch.device("cpu")) if device.type == "cuda" else None
    staged = memory_need(settings.model_copy(update={"quantization": None}), config, dtype, device).weights
    if host is not None and staged > host:
        msg = (
            f"engine.model {settings.model}: {staged / GB:.1f} GB of weights are read into the machine's memory first,"
            f" of which {host / GB:.1f} GB are free; give the machine, or the container, more"
        )
        raise Misconfigured(msg)


def total_bytes(device: torch.device) -> int | None:
    """What a process may use of a GPU, or of the machine or container; None where it can't be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1] - CUDA_CONTEXT
    limit = _number(CGROUP / "memory.max")
    return min((each for each in (_of_machine("MemTotal"), limit) if each is not None), default=None)


def free_bytes(device: torch.device) -> int | None:
    """Of a GPU, or of the machine or container as Linux tells it; None where it can't be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    return min((each for each in (_of_machine("MemAvailable"), _container_free()) if each is not None), default=None)


def _of_machine(what: str) -> int | None:
    if not MEMINFO.exists():
        return None
    lines = MEMINFO.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), None)


def _container_free() -> int | None:
    """What a memory limit of cgroup v2 leaves; cached files give way. None without a limit."""
    most, used = (_number(CGROUP / f"memory.{name}") for name in ("max", "current"))
    if most is None or used is None:
        return None
    stat = (CGROUP / "memory.stat").read_text(encoding="utf-8").split()
    return most - used + int(dict(zip(stat[::2], stat[1::2], strict=True)).get("file", 0))


def _number(file: Path) -> int | None:
    """None where there is no such file, or it says `max`."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def memory_need(settings: EngineSettings, config: Any, dtype: torch.dtype, device: torch.device | None) -> MemoryNeed:  # noqa: ANN401 - of any member
    """By the model's own modules, of which none is made.

    A token's activations are largest in the MLP of a layer of words, or, of an image, in the rotation of queries and
    keys of a layer of patches, which is done in float32. Without a `device` it is a card of Ampere or newer.
    """
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    size, text, vision = dtype.itemsize, config.text_config, config.vision_config
    linear = [layer.weight.numel() for layer in _linear(model)] if settings.quantization else []
    pixels = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    patch = max(
        pixels * (4 + size) + vision.hidden_size * (6 * 4 + 5 * size),
        (4 * vision.out_hidden_size + 3 * vision.hidden_size) * size,
    )
    plain = is_plain(device, dtype) if device else dtype == torch.float32
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return MemoryNeed(
        weights=sum(weight.nbytes for weight in model.parameters()) - sum(linear) * (size - 1),
        widened=max(linear, default=0) * size if settings.quantization == "int8" else 0,
        a_word=_mlp_bytes(settings.quantization, text.intermediate_size, size) + 5 * text.hidden_size * size,
        an_image_token=PATCHES_A_TOKEN * patch + 2 * text.hidden_size * size,
        cached=2 * text.num_hidden_layers * text.num_key_value_heads * head_size * size,
        matrix=MATRIX_BYTES if plain else 0,
        answers=ANSWERS_A_PROJECTION * text.vocab_size * (size + 2 * 4),
        kept_contexts=MAX_CACHED_CONTEXTS if LAYOUTS[settings.layout].policies_in_prefix else 0,
    )


def _mlp_bytes(quantization: str | None, intermediate: int, size: int) -> int:
    """Of a token at the MLP's widest, beside its hidden states."""
    if quantization == "int8_dynamic":  # gate and values as 32-bit sums, and rescaled
        return 2 * intermediate * (4 + size)
    return 4 * intermediate * size


def context_tokens_of(settings: EngineSettings, config: Any) -> int:  # noqa: ANN401 - as above
    """Tokens that the model may read of a prompt."""
    return min(settings.max_context_tokens, int(config.text_config.max_position_embeddings))


def advice(
    settings: EngineSettings,
    config: Any,  # noqa: ANN401 - as above
    dtype: torch.dtype,
    device: torch.device | None,
    free: int,
) -> str:
    """The least change by which the model fits."""
    context = context_tokens_of(settings, config)

    def largest(dtype: torch.dtype, quantization: str | None) -> int:
        tried = settings.model_copy(update={"quantization": quantization})
        return memory_need(tried, config, dtype, device).largest_batch(free, context)

    if (batch := largest(dtype, settings.quantization)) >= LEAST_BATCH:
        lower = {"max_batch_tokens": settings.max_batch_tokens, "max_context_tokens": context}
        said = [f"engine.{name} from {tokens}" for name, tokens in lower.items() if tokens > batch]
        return f"lower {' and '.join(said)} to {batch}"
    if dtype == torch.float32 and largest(torch.bfloat16, settings.quantization) >= LEAST_BATCH:
        return "set engine.dtype to bfloat16"
    if settings.quantization is None and largest(dtype, "int8") >= LEAST_BATCH:
        return "set engine.quantization to int8"
    return "choose a smaller engine.model, another engine.device, or a server (engine.kind = openai)"


def _linear(model: nn.Module) -> Iterator[nn.Linear]:
    return (part for name, part in model.named_modules() if isinstance(part, nn.Linear) and name != "lm_head")
