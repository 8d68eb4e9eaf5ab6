"""The stages, by step counts and seeds: the same steps on a busy machine as on an idle one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import Glm4vForConditionalGeneration, PreTrainedTokenizerFast

from moderation_service.contracts.question import Language, Questionnaire
from moderation_service.demo.training import joint, vision
from moderation_service.demo.training.bank import Shelf
from moderation_service.demo.training.model import new_model
from moderation_service.demo.training.optimiser import Optimiser
from moderation_service.demo.training.rows import Teacher
from moderation_service.demo.training.tokenizer import train_tokenizer
from moderation_service.demo.training.vision import Heads
from moderation_service.engine.vocabulary import Vocabulary
from moderation_service.policies.pack import load_pack
from moderation_service.settings import shipped_policies

PICTURES, PICTURES_SEED = 56_000, 11
MODEL_SEED, HEADS_SEED, TOKENIZER_SEED = 0, 1, 3

VISION_STEPS, VISION_SEED = 3000, 1
LANGUAGE_STEPS, LANGUAGE_SEED = 300, 21
JOINT_STEPS, JOINT_SEED = 800, 22


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the training, which changes the model and the throw-away heads in place."""

    name: str
    run: Callable[[Glm4vForConditionalGeneration, Heads, Sequence[Shelf], Teacher], None]


def packs() -> dict[Language, Questionnaire]:
    """The shipped policies' questions in both languages."""
    pack = load_pack(shipped_policies())
    return {"en": pack.questionnaire("en", "enforce"), "zh": pack.questionnaire("zh", "enforce")}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, from generated posts and the shipped questions."""
    return train_tokenizer(list(packs().values()), TOKENIZER_SEED)


def make_teacher(
    model: Glm4vForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, shelves: Sequence[Shelf]
) -> Teacher:
    """Whoever makes the training posts."""
    return Teacher(Vocabulary(tokenizer, model.config.image_token_id), packs(), shelves, model)


def blank() -> tuple[Glm4vForConditionalGeneration, Heads]:
    """A model and throw-away heads that know nothing."""
    model = new_model(MODEL_SEED)
    torch.manual_seed(HEADS_SEED)
    return model, Heads(model.config.vision_config.out_hidden_size)


def learn_to_see(model: Glm4vForConditionalGeneration, heads: Heads, shelves: Sequence[Shelf], _: Teacher) -> None:
    """Stage 1: the vision tower learns the pictograms."""
    vision.train(model.model.visual, heads, shelves, steps=VISION_STEPS, seed=VISION_SEED)


def learn_to_read(model: Glm4vForConditionalGeneration, heads: Heads, _: Sequence[Shelf], teacher: Teacher) -> None:
    """Stage 2: the language model learns to answer; the tower stays as it is."""
    visual = model.model.visual
    visual.requires_grad_(False)
    groups = [(model.model.language_model, 0.02, 2e-3), (model.lm_head, 0.02, 2e-3)]
    optimiser = Optimiser(groups, steps=LANGUAGE_STEPS, flat=0.7)
    joint.train(model, heads, teacher, optimiser, steps=LANGUAGE_STEPS, seed=LANGUAGE_SEED, name="language")
    visual.requires_grad_(True)


def learn_together(model: Glm4vForConditionalGeneration, heads: Heads, _: Sequence[Shelf], teacher: Teacher) -> None:
    """Stage 3: everything learns."""
    groups = [
        (model.model.language_model, 0.01, 1e-3),
        (model.lm_head, 0.01, 1e-3),
        (model.model.visual, 0.008, 6e-4),
        (heads, 0.008, 6e-4),
    ]
    optimiser = Optimiser(groups, steps=JOINT_STEPS, flat=0.0)
    joint.train(model, heads, teacher, optimiser, steps=JOINT_STEPS, seed=JOINT_SEED, name="joint")


STAGES = (Stage("see", learn_to_see), Stage("read", learn_to_read), Stage("together", learn_together))
