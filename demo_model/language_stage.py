"""Stages 2 and 3: the language model answers questions about posts, in the prompts of both layouts."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from transformers import Glm4vForConditionalGeneration
from transformers.cache_utils import Cache, DynamicCache

from demo_model.batched_vision import see
from demo_model.lessons import Lesson, Teacher
from demo_model.optimiser import Course, Optimiser
from moderation_service.settings import LayoutName
from moderation_service.training.masked_batch import KeptPrefixLayer

BATCH = 64
REPORT = 25

LOG = logging.getLogger(__name__)
LAYOUTS: tuple[LayoutName, ...] = ("post_first", "policies_first")


def answer_logits(model: Glm4vForConditionalGeneration, lesson: Lesson) -> torch.Tensor:
    """Logits [A, vocabulary] of each answer.

    Every row stands behind one prefix, which is computed once a batch and learned through.
    """
    body = model.model.language_model
    prefix = torch.tensor([lesson.prefix])
    cache: Cache = DynamicCache(config=model.config)
    body(
        inputs_embeds=body.embed_tokens(prefix),
        position_ids=torch.arange(prefix.shape[1]).expand(3, 1, -1),
        past_key_values=cache,
        use_cache=True,
    )
    kept: Any = Cache(layers=[KeptPrefixLayer(layer.keys, layer.values) for layer in cache.layers])
    embedded = body.embed_tokens(lesson.rows.ids)  # [B, Q, hidden size]
    if lesson.images is not None:
        images = lesson.images
        tokens = see(model.model.visual, images.patches, images.grids)
        lengths = [down * across // 4 for down, across in images.grids]
        real = torch.cat([row[:length] for row, length in zip(tokens, lengths, strict=True)])
        where = (lesson.rows.ids == model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(where, real.to(embedded.dtype))
    # Added to the scores, as every attention of transformers takes it.
    hidden_from = embedded.new_zeros(lesson.rows.mask.shape)
    hidden_from.masked_fill_(~lesson.rows.mask, torch.finfo(hidden_from.dtype).min)
    hidden = body(
        inputs_embeds=embedded,
        attention_mask=hidden_from,
        position_ids=lesson.rows.positions,
        past_key_values=kept,
        use_cache=True,
    ).last_hidden_state
    answers = hidden[lesson.rows.answer_rows, lesson.rows.answer_columns]
    logits: torch.Tensor = model.lm_head(answers).float()
    return logits


class _Lessons(IterableDataset[Lesson]):
    """The lessons of a course, the same for the same seed."""

    def __init__(self, teacher: Teacher, course: Course, *, blind: bool) -> None:
        self._teacher, self._course, self._blind = teacher, course, blind

    def __iter__(self) -> Iterator[Lesson]:
        rng = np.random.default_rng(self._course.seed)
        for _ in range(self._course.steps):
            layout = LAYOUTS[rng.integers(len(LAYOUTS))]
            yield self._teacher.lesson(rng, layout, BATCH, blind=self._blind)


def train(
    model: Glm4vForConditionalGeneration, teacher: Teacher, optimiser: Optimiser, course: Course, *, blind: bool = False
) -> None:
    """Train in place, with `blind` on posts without their images."""
    right = seen = 0
    # The next lessons are made in a process of their own while this one learns.
    lessons = DataLoader(_Lessons(teacher, course, blind=blind), batch_size=None, num_workers=1, prefetch_factor=8)
    for step, lesson in enumerate(lessons, start=1):
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(logits := answer_logits(model, lesson), lesson.answers)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        right += int((logits.argmax(-1) == lesson.answers).sum())
        seen += len(lesson.answers)
        if step % REPORT == 0:
            LOG.info("%s %d of %d: loss %.3f, right %.3f", course.name, step, course.steps, loss.item(), right / seen)
            right = seen = 0
