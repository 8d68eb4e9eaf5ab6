"""Training batches: drafts become rows of images, words and questions, in the prompts that the engine uses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional
from transformers import Glm4vForConditionalGeneration

from demo_model.batched_vision import patches
from demo_model.image_bank import Shelf, varied
from demo_model.tokenizer import IMAGE_QUESTION, NOTHING, ONE_OF_SEVERAL, TEXT_QUESTION
from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.contracts.enums import AttributionClass
from moderation_service.demo.glyphs import CLASSES
from moderation_service.demo.posts import Draft, draft
from moderation_service.demo.texts import INTENTS, injection
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.local.image_encoder import StagedImage
from moderation_service.engine.local.packed_row import PostRow
from moderation_service.engine.local.post_tokenizer import SafeTokenizer, TokenizedPost
from moderation_service.engine.prompts import Prompts
from moderation_service.settings import LayoutName
from moderation_service.training.masked_batch import MaskedBatch, pack

ASKED = 4
DROPPED, DROP_POSTS = 0.15, 0.5
"""This share of the tokens of this share of the posts is left out."""

ORDERED = 0.2
"""This share of the posts with words ends in an order to the model, besides those that are thought up with one."""

ARMED = 0.3
"""So often is a post without a weapon thought up anew: weapons turn three policies, each with words of its own."""

WHOLE_PACK = 0.8
"""So often does the prefix of policies_first hold all policies; else some of them."""

ANSWERS: dict[Language, tuple[str, str]] = {"en": ("yes", "no"), "zh": ("是", "否")}


@dataclass(frozen=True, slots=True)
class SeenRow:
    """The images of a batch: patches padded to the largest grid, and the grids."""

    patches: torch.Tensor  # [N, patches, 3 · 14²]
    grids: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One training batch."""

    prefix: list[int]
    rows: MaskedBatch
    images: SeenRow | None
    answers: torch.Tensor  # [A] token ids


class Teacher:
    """Makes lessons from a generator of random numbers."""

    def __init__(
        self,
        tokenizer: SafeTokenizer,
        packs: dict[Language, Questionnaire],
        shelves: Sequence[Shelf],
        model: Glm4vForConditionalGeneration,
    ) -> None:
        """The model is needed for its image token and how many patches make one."""
        self._tokenizer = tokenizer
        self._packs = packs
        self._shelves = shelves
        self._merge = int(model.config.vision_config.spatial_merge_size)
        self._image_token = int(model.config.image_token_id)
        self._by_class = [
            [(number, int(at)) for number, shelf in enumerate(shelves) for at in np.flatnonzero(shelf.classes == cls)]
            for cls in range(len(CLASSES))
        ]

    def lesson(self, rng: np.random.Generator, layout: LayoutName, count: int, *, blind: bool = False) -> Lesson:
        """`count` posts that share a prefix; with `blind`, without their images.

        Behind policies first, they also share a language.
        """
        prompts = Prompts(self._tokenizer.frame, LAYOUTS[layout], "brief")
        language: Language = "zh" if rng.random() < 0.5 else "en"
        shown = _shuffled(self._packs[language], rng, WHOLE_PACK)
        prefix = self._tokenizer.encode_trusted(prompts.prefix(shown))
        rows, taken, answers = [], [], []
        for _ in range(count):
            wanted = language if layout == "policies_first" else None
            post = draft(rng, language=wanted)
            while "weapon" not in post.images and rng.random() < ARMED:
                post = draft(rng, language=wanted)
            if blind:
                post = replace(post, images=())
            if post.text and rng.random() < ORDERED:
                post = replace(post, text=f"{post.text}\n{injection(post.language, rng)}")
            own = shown if layout == "policies_first" else self._packs[post.language]
            chosen = [self._choose(cls, rng) for cls in (CLASSES.index(cls) for cls in post.images)]
            suffixes, right = self._questions(post, own, prompts, rng)
            rows.append(PostRow(self._inputs(post, chosen, prompts, rng), suffixes))
            taken += chosen
            answers += right
        return Lesson(
            prefix,
            pack(rows, len(prefix), self._image_token, self._tokenizer.pad, self._merge),
            self._seen(taken, rng) if taken else None,
            torch.tensor(answers),
        )

    def _questions(
        self, post: Draft, own: Questionnaire, prompts: Prompts, rng: np.random.Generator
    ) -> tuple[tuple[list[int], ...], list[int]]:
        """Up to four policies, those first that the post touches, and what it shows and says."""
        truths = post.truths
        ranks = [
            rng.random() - (truths[q.policy_id].attribution != AttributionClass.NONE) - _touched(q.policy_id, post)
            for q in own.questions
        ]
        asked = np.argsort(ranks)[:ASKED]
        suffixes = prompts.suffixes(own)
        yes, no = ANSWERS[own.language]
        texts = [suffixes[number] for number in asked]
        right = [yes if truths[own.questions[number].policy_id].violated else no for number in asked]
        for aside, held, known in ((IMAGE_QUESTION, post.images, CLASSES), (TEXT_QUESTION, post.intents, INTENTS)):
            told = _main(held)
            if told is None:
                among: Sequence[str] = held if rng.random() < 0.5 else known
                one = among[int(rng.integers(len(among)))]
                aside, told = ONE_OF_SEVERAL.format(aside, one), yes if one in held else no  # noqa: PLW2901
            texts.append(aside + prompts.frame.close)
            right.append(told)
        words = self._tokenizer.encode_trusted
        return tuple(words(text) for text in texts), [words(answer)[0] for answer in right]

    def _inputs(
        self, post: Draft, chosen: Sequence[tuple[int, int]], prompts: Prompts, rng: np.random.Generator
    ) -> TokenizedPost:
        ids: list[int] = []
        images = []
        for shelf, _ in chosen:
            down, across = self._shelves[shelf].grid
            ids += self._tokenizer.image_tokens(down * across // 4)
            # The patches travel apart; the packing needs only the grid.
            images.append(StagedImage(torch.empty(0, 1), torch.tensor([[1, down, across]])))
        words = self._tokenizer.encode_untrusted(prompts.words(post.text))
        if rng.random() < DROP_POSTS:
            kept = rng.random(len(words)) >= DROPPED
            words = [word for word, keep in zip(words, kept, strict=True) if keep]
        return TokenizedPost([*ids, *words], tuple(images), truncated=False)

    def _choose(self, cls: int, rng: np.random.Generator) -> tuple[int, int]:
        return self._by_class[cls][rng.integers(len(self._by_class[cls]))]

    def _seen(self, taken: Sequence[tuple[int, int]], rng: np.random.Generator) -> SeenRow:
        grids = [self._shelves[shelf].grid for shelf, _ in taken]
        longest = max(down * across for down, across in grids)
        views = [patches(varied(self._shelves[shelf], at, rng)[0][None])[0] for shelf, at in taken]
        return SeenRow(torch.stack([functional.pad(view, (0, 0, 0, longest - len(view))) for view in views]), grids)


def _shuffled(pack_: Questionnaire, rng: np.random.Generator, whole: float) -> Questionnaire:
    """The questions in another order, and now and then only some of them."""
    count = len(pack_.questions)
    kept = count if rng.random() < whole else int(rng.integers(2, count + 1))
    order = rng.permutation(count)[:kept]
    return Questionnaire(pack_.language, tuple(pack_.questions[number] for number in order))


def _main(held: Sequence[str]) -> str | None:
    """The one thing that is not neutral among these, or None if there are several."""
    told = set(held) - {"neutral"} or set(held) or {NOTHING}
    return told.pop() if len(told) == 1 else None


def _touched(policy_id: str, post: Draft) -> bool:
    """Whether the images or the words alone make the question worth asking."""
    classes, intents = NEAR[policy_id]
    return bool(classes & set(post.images)) or bool(intents & set(post.intents))


NEAR: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "weapon_sale": (frozenset({"weapon"}), frozenset({"sale"})),
    "health_misinformation": (frozenset({"medical"}), frozenset({"cure"})),
    "financial_scam": (frozenset({"money"}), frozenset({"invest"})),
    "minor_contact": (frozenset({"child"}), frozenset({"meet"})),
    "dehumanisation": (frozenset({"animal"}), frozenset({"group"})),
    "violence": (frozenset({"gore", "weapon"}), frozenset({"threat", "menace"})),
    "doxxing": (frozenset(), frozenset({"dox"})),
    "weapon_display": (frozenset({"weapon"}), frozenset({"context"})),
}
"""For each policy, the images and intents that its question turns on."""
