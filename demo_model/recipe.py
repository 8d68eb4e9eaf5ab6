"""The stages, by step counts and seeds: the same steps on a busy machine as on an idle one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import Glm4vForConditionalGeneration, PreTrainedTokenizerFast

from demo_model import joint, vision
from demo_model.bank import Shelf, fill, merged
from demo_model.compiled import compiled
from demo_model.model import new_model
from demo_model.optimiser import Course, Optimiser
from demo_model.rows import Teacher
from demo_model.tokenizer import train_tokenizer
from demo_model.vision import Heads
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


def blank() -> tuple[Glm4vForConditionalGeneration, Heads]:
    """A model and throw-away heads that know nothing."""
    model = compiled(new_model(MODEL_SEED))
    torch.manual_seed(HEADS_SEED)
    return model, Heads(model.config.vision_config.out_hidden_size)


def see(model: Glm4vForConditionalGeneration, heads: Heads, material: Material) -> None:
    """Stage 1: the vision tower learns the pictograms, from rough images."""
    vision.train(model.model.visual, heads, material.first, SEE)


def see_again(model: Glm4vForConditionalGeneration, heads: Heads, material: Material) -> None:
    """Stage 1, second round: images it has not seen, at lower rates."""
    vision.train(model.model.visual, heads, material.second, SEE_AGAIN)


def see_more(model: Glm4vForConditionalGeneration, heads: Heads, material: Material) -> None:
    """Stage 1, third round: the same images a little otherwise, until few are mistaken."""
    vision.train(model.model.visual, heads, material.second, SEE_MORE)


def words(model: Glm4vForConditionalGeneration, _: Heads, material: Material) -> None:
    """Stage 2: the language model learns to read, from posts without images."""
    _language(model, material, WORDS, blind=True)


def read(model: Glm4vForConditionalGeneration, _: Heads, material: Material) -> None:
    """Stage 3: the language model learns to read what the finished tower says; the tower stays as it is."""
    _language(model, material, READ)


def read_more(model: Glm4vForConditionalGeneration, _: Heads, material: Material) -> None:
    """Stage 3, second round: other posts of the same kind, at somewhat lower rates."""
    _language(model, material, READ_MORE)


def read_last(model: Glm4vForConditionalGeneration, _: Heads, material: Material) -> None:
    """Stage 3, third round: down to nothing from rates that are lower still."""
    _language(model, material, READ_LAST)


def _language(model: Glm4vForConditionalGeneration, material: Material, course: Course, *, blind: bool = False) -> None:
    visual = model.model.visual
    visual.requires_grad_(False)
    optimiser = Optimiser([(model.model.language_model, 1.0), (model.lm_head, 1.0)], course)
    joint.train(model, material.teacher, optimiser, course, blind=blind)
    visual.requires_grad_(True)


STAGES = (
    Stage("see", see),
    Stage("see_again", see_again),
    Stage("see_more", see_more),
    Stage("words", words),
    Stage("read", read),
    Stage("read_more", read_more),
    Stage("read_last", read_last),
)
