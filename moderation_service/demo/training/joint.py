"""Stages 2 and 3: the whole model answers questions about posts, in the prompts of both layouts."""

import logging
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import Glm4vForConditionalGeneration
from transformers.cache_utils import Cache, DynamicCache

from moderation_service.demo.training.optimiser import Course, Optimiser
from moderation_service.demo.training.rows import Lesson, Teacher
from moderation_service.demo.training.sight import see
from moderation_service.demo.training.vision import Heads
from moderation_service.engine.prompts import LayoutName
from moderation_service.engine.scorer import KeptLayer

BATCH = 64
CELL_SHARE = 0.3
"""How much the question of what is on each cell still counts while the answers are learned."""

REPORT = 25

LOG = logging.getLogger(__name__)
LAYOUTS: tuple[LayoutName, ...] = ("post_first", "policies_first")


def answer_logits(model: Glm4vForConditionalGeneration, lesson: Lesson) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits [A, vocabulary] of each answer, and the pictures' tokens [N, tokens, hidden size].

    Every row stands behind one opening, which is computed once a batch and learned through.
    """
    body = model.model.language_model
    opening = torch.tensor([lesson.opening])
    cache: Cache = DynamicCache(config=model.config)
    body(
        inputs_embeds=body.embed_tokens(opening),
        position_ids=torch.arange(opening.shape[1]).expand(3, 1, -1),
        past_key_values=cache,
        use_cache=True,
    )
    kept: Any = Cache(layers=[KeptLayer(layer.keys, layer.values) for layer in cache.layers])
    embedded = body.embed_tokens(lesson.rows.ids)  # [B, Q, hidden size]
    tokens = None
    if lesson.pictures is not None:
        pictures = lesson.pictures
        tokens = see(model.model.visual, pictures.patches, pictures.grids)
        lengths = [down * across // 4 for down, across in pictures.grids]
        real = torch.cat([row[:length] for row, length in zip(tokens, lengths, strict=True)])
        where = (lesson.rows.ids == model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(where, real.to(embedded.dtype))
    hidden = body(
        inputs_embeds=embedded,
        attention_mask=lesson.rows.mask,
        position_ids=lesson.rows.positions,
        past_key_values=kept,
        use_cache=True,
    ).last_hidden_state
    answers = hidden[lesson.rows.answer_rows, lesson.rows.answer_columns]
    return model.lm_head(answers).float(), tokens


def train(
    model: Glm4vForConditionalGeneration,
    heads: Heads,
    teacher: Teacher,
    optimiser: Optimiser,
    course: Course,
    *,
    blind: bool = False,
) -> None:
    """Train in place, with `blind` on posts without their pictures.

    Where the tower has no gradients, its cells don't count.
    """
    rng = np.random.default_rng(course.seed)
    sighted = next(model.model.visual.parameters()).requires_grad
    right = seen = 0
    for step in range(1, course.steps + 1):
        lesson = teacher.lesson(rng, LAYOUTS[rng.integers(len(LAYOUTS))], BATCH, blind=blind)
        with torch.autocast("cpu", torch.bfloat16):
            logits, tokens = answer_logits(model, lesson)
            loss = functional.cross_entropy(logits, lesson.answers)
            if sighted and tokens is not None and lesson.pictures is not None:
                told = heads.cell(tokens).float()
                loss = loss + CELL_SHARE * functional.cross_entropy(told.flatten(0, 1), lesson.pictures.cells.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        right += int((logits.argmax(-1) == lesson.answers).sum())
        seen += len(lesson.answers)
        if step % REPORT == 0:
            LOG.info("%s %d of %d: loss %.3f, right %.3f", course.name, step, course.steps, loss.item(), right / seen)
            right = seen = 0
