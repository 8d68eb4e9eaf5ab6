"""The check of a model in this process: what it answers, what it reads, what it needs. Synchronous, for its thread."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from moderation_service.contracts.engine_input import Language
from moderation_service.engine.answer_prefix import PROBES
from moderation_service.engine.base import EngineInfo
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.local.checkpoint import DTYPES, check_family
from moderation_service.engine.local.memory_check import (
    CUDA_CONTEXT,
    GB,
    advice,
    context_tokens_of,
    memory_need,
    total_bytes,
)
from moderation_service.engine.local.scorer import Scorer
from moderation_service.engine.model_report import (
    CheckInput,
    ImageReading,
    LabelWord,
    Memory,
    ModelReport,
    PostTokens,
    answers_of,
    sample,
)
from moderation_service.errors import Misconfigured
from moderation_service.settings import EngineSettings, LayoutName

FLASH = "GLM-4.6V-Flash"
"""The shape that can be checked without a checkpoint."""


def check_model(
    scorer: Scorer,
    settings: EngineSettings,
    info: EngineInfo,
    behind: str | None,
    latency_ms: float,
    checked: CheckInput,
) -> ModelReport:
    """Ask and measure. `behind` is the prefix that would let the model answer where the one that is set does not."""
    room = scorer.prefix(checked.questionnaire).room
    images = tuple(_reading(scorer, checked, size, room) for size in checked.images)
    usual = next(image for image in images if (image.width, image.height) == checked.usual)
    return ModelReport(
        model=info,
        answer_prefix=scorer.prompts.answer_prefix,
        would_answer_behind=behind,
        answers=answers_of([scorer.first_tokens(probe) for probe in PROBES]),
        labels=tuple(_labels(scorer)),
        images=images,
        posts=tuple(
            _tokens(scorer, layout, language, checked) for layout in LAYOUTS for language in checked.questionnaires
        ),
        memory=_of_device(scorer, settings),  # behind all forwards, for its peak
        latency_ms=latency_ms,
        full_images=room // max(usual.tokens, 1),
    )


def check_shape(settings: EngineSettings, shape: str, card_gb: float) -> Memory:
    """The memory of a model that is not here, from its configuration alone: a folder, a config.json, or FLASH.

    Raises Misconfigured for what is none of them.
    """
    config = _config(shape)
    dtype = DTYPES.get(settings.dtype, torch.bfloat16)
    return _memory(
        settings,
        config,
        dtype,
        None,
        f"{shape} in {str(dtype)[6:]} on a card of {card_gb:g} GB",
        int(card_gb * GB) - CUDA_CONTEXT,
    )


def _config(shape: str) -> Any:  # noqa: ANN401 - a class of its own for each model
    if shape == FLASH:
        config = AutoConfig.for_model("glm4v")  # whose defaults are this shape
        config.text_config.rope_parameters.update(partial_rotary_factor=0.5, mrope_section=[8, 12, 12])
        config.text_config.max_position_embeddings = 131_072
        return config
    try:
        path = Path(shape).expanduser()
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:  # the last where `~` is nobody's
        msg = f"--shape {shape}: should be {FLASH}, or a folder with the config.json of a model of the GLM-4V family"
        raise Misconfigured(msg) from error
    check_family(shape, config)
    return config


def _memory(
    settings: EngineSettings,
    config: Any,  # noqa: ANN401
    dtype: torch.dtype,
    device: torch.device | None,
    of: str,
    available: int | None,
) -> Memory:
    need, context = memory_need(settings, config, dtype, device), context_tokens_of(settings, config)
    parts = need.parts(settings.max_batch_tokens, context)
    if available is None:
        return Memory(of, parts, None, None)
    return Memory(
        of=of,
        parts=parts,
        available=available,
        largest_batch=need.largest_batch(available, context),
        advice=advice(settings, config, dtype, device, available) if sum(parts.values()) > available else None,
    )


def _of_device(scorer: Scorer, settings: EngineSettings) -> Memory:
    checkpoint = scorer.checkpoint
    device, of = checkpoint.device, "the CPU (computed, of the machine or container)"
    if device.type == "cuda":
        of = torch.cuda.get_device_name(device)
    memory = _memory(settings, checkpoint.config, checkpoint.dtype, device, of, total_bytes(device))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return replace(memory, peak=peak)


def _labels(scorer: Scorer) -> Iterator[LabelWord]:
    labels, tokenizer = scorer.prompts.labels, scorer.tokenizer
    for label, words in (("yes", labels.yes), ("no", labels.no)):
        for word in words:
            tokens = len(tokenizer.encode_trusted(word))
            yield LabelWord(word, "yes" if label == "yes" else "no", tokens == 1, f"{tokens} token{'s' * (tokens > 1)}")


def _reading(scorer: Scorer, checked: CheckInput, size: tuple[int, int], room: int) -> ImageReading:
    post = scorer.post_tokenizer.tokenize("", checked.images[size], room)
    tokens = sum(int(image.grid.prod()) for image in post.images) // scorer.preprocessor.merge**2
    return ImageReading(*size, tokens=tokens, pixels=tokens * scorer.preprocessor.token_side**2)


def _tokens(scorer: Scorer, layout: LayoutName, language: Language, checked: CheckInput) -> PostTokens:
    """Counted, not computed: the layout that is not used takes no forward."""
    questionnaire, trusted = checked.questionnaires[language], scorer.tokenizer.encode_trusted
    prompts = replace(scorer.prompts, layout=LAYOUTS[layout])
    prefix = len(trusted(prompts.prefix(questionnaire)))
    suffixes = [len(trusted(suffix + prompts.answer_prefix)) for suffix in prompts.suffixes(questionnaire)]
    room = max(scorer.context_tokens - prefix - max(suffixes), 0)
    post = scorer.post_tokenizer.tokenize(sample(language), checked.images[checked.usual], max(room, 1))
    image = sum(int(each.grid.prod()) for each in post.images) // scorer.preprocessor.merge**2
    return PostTokens(layout, language, prefix, len(post.ids) - image, image, sum(suffixes), room)
