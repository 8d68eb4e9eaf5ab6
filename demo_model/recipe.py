"""The stages, by step counts and seeds: the same steps on a busy machine as on an idle one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from transformers import Glm4vForConditionalGeneration, PreTrainedTokenizerFast

from demo_model import language_stage, vision_stage
from demo_model.image_bank import Shelf, fill, merged
from demo_model.lessons import Teacher
from demo_model.model import new_model
from demo_model.optimiser import Course, Optimiser
from demo_model.tokenizer import train_tokenizer
from demo_model.vision_stage import Heads
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.contracts.enums import Mode
from moderation_service.demo.images import ROUGH
from moderation_service.engine.local.post_tokenizer import SafeTokenizer
from moderation_service.policies.pack import load_pack
from moderation_service.settings import shipped_policies

ROUGH_IMAGES, ROUGH_SEED = 56_000, 11
MORE_ROUGH_IMAGES, MORE_ROUGH_SEED = 40_000, 14
USUAL_IMAGES, USUAL_SEED = 40_000, 16
MODEL_SEED, HEADS_SEED, TOKENIZER_SEED = 0, 1, 3

SEE = Course("see", steps=3000, seed=1, rates=(0.02, 1.5e-3), flat=0.4)
SEE_AGAIN = Course("see again", steps=2000, seed=2, rates=(0.012, 1e-3), flat=0.0)
SEE_MORE = Course("see more", steps=3000, seed=3, rates=(0.012, 1e-3), flat=0.0)
WORDS = Course("words", steps=1500, seed=20, rates=(0.02, 2e-3), flat=0.6)
READ = Course("read", steps=4500, seed=41, rates=(0.015, 1.5e-3), flat=0.4)
READ_MORE = Course("read more", steps=5000, seed=42, rates=(0.012, 1.2e-3), flat=0.4)
READ_LAST = Course("read last", steps=2500, seed=43, rates=(0.008, 8e-4), flat=0.0)


@dataclass(frozen=True, slots=True)
class Material:
    """What the stages learn from: two banks of images, and posts with images of the second."""

    first: Sequence[Shelf]
    second: Sequence[Shelf]
    teacher: Teacher


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the training, which changes the model and the throw-away heads in place."""

    name: str
    run: Callable[[Glm4vForConditionalGeneration, Heads, Material], None]


def packs() -> dict[Language, Questionnaire]:
    """The shipped policies' questions in both languages."""
    pack = load_pack(shipped_policies())
    return {"en": pack.questionnaire("en", Mode.ENFORCE), "zh": pack.questionnaire("zh", Mode.ENFORCE)}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, from generated posts and the shipped questions."""
    return train_tokenizer(list(packs().values()), TOKENIZER_SEED)


def make_material(model: Glm4vForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> Material:
    """Paint both banks; the posts are asked about in the tokenizer's words."""
    first = fill(ROUGH_IMAGES, ROUGH_SEED, ROUGH)
    second = merged(fill(MORE_ROUGH_IMAGES, MORE_ROUGH_SEED, ROUGH), fill(USUAL_IMAGES, USUAL_SEED))
    return Material(first, second, make_teacher(model, tokenizer, second))


def make_teacher(
    model: Glm4vForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, shelves: Sequence[Shelf]
) -> Teacher:
    """Whoever makes the training posts."""
    return Teacher(SafeTokenizer(tokenizer, model.config.image_token_id), packs(), shelves, model)


def _compiled(model: Glm4vForConditionalGeneration) -> Glm4vForConditionalGeneration:
    """The same model, trained in half the time. Attention is written out: torch's own, with a mask, learns slower."""
    model.set_attn_implementation("eager")
    for layer in model.model.language_model.layers:
        layer.compile(dynamic=True)
    for block in model.model.visual.blocks:
        for part in (block.norm1, block.norm2, block.mlp):
            part.compile(dynamic=True)
    return model


def blank() -> tuple[Glm4vForConditionalGeneration, Heads]:
    """A model and throw-away heads that know nothing."""
    model = _compiled(new_model(MODEL_SEED))
    torch.manual_seed(HEADS_SEED)
    return model, Heads(model.config.vision_config.out_hidden_size)


def _see(
    course: Course,
    bank: Literal["first", "second"],
    model: Glm4vForConditionalGeneration,
    heads: Heads,
    material: Material,
) -> None:
    vision_stage.train(model.model.visual, heads, getattr(material, bank), course)


def _read(
    course: Course, model: Glm4vForConditionalGeneration, _: Heads, material: Material, *, blind: bool = False
) -> None:
    """The vision tower stays as it is."""
    visual = model.model.visual
    visual.requires_grad_(False)
    optimiser = Optimiser([(model.model.language_model, 1.0), (model.lm_head, 1.0)], course)
    language_stage.train(model, material.teacher, optimiser, course, blind=blind)
    visual.requires_grad_(True)


STAGES = (
    # The vision tower learns the pictograms: from rough images, from others at lower rates, once more from these.
    Stage("see", partial(_see, SEE, "first")),
    Stage("see_again", partial(_see, SEE_AGAIN, "second")),
    Stage("see_more", partial(_see, SEE_MORE, "second")),
    # The language model learns to read: posts without images, then what the finished tower says.
    Stage("words", partial(_read, WORDS, blind=True)),
    Stage("read", partial(_read, READ)),
    Stage("read_more", partial(_read, READ_MORE)),
    Stage("read_last", partial(_read, READ_LAST)),
)
