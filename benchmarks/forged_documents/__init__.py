"""A ninth policy: its pictograms and wordings are new to the bundled model. Posts for it, from a seed."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from moderation_service.contracts.engine_input import Language
from moderation_service.demo.glyphs import CELL, CLASSES, sprites
from moderation_service.demo.images import paint
from moderation_service.demo.post_factory import PostFactory
from moderation_service.demo.posts import SIZES, draft
from moderation_service.demo.texts import INTENTS, joined
from moderation_service.evaluation.labelled import Labelled
from moderation_service.judging.decision import classify

POLICY = "forged_documents"
FOLDER = Path(__file__).parent
GLYPHS = "🪪🛂📜🎫📇📋"
KINDS = ("both", "picture", "words", "other")
SHARES = (0.35, 0.15, 0.15, 0.35)
LONGER = 0.3
"""So often does a harmless sentence follow."""

_TAG = 77
_BEGAN = datetime(2026, 5, 1, tzinfo=UTC)
_SLOT = re.compile(r"\{(\w+)\}")


def posts(count: int, seed: int) -> Iterator[Labelled]:
    """`count` posts with labels of all nine policies, one a minute: both halves of the violation, one, or neither."""
    for number in range(count):
        desk = PostFactory(seed, number, _TAG, POLICY)
        kind = KINDS[desk.rng.choice(len(KINDS), p=SHARES)]
        if kind == "other":
            made = desk.drawn(draft(desk.rng))
        else:
            made = desk.made(desk.pick(CLASSES), desk.pick(INTENTS))
            if kind != "words":
                made = replace(made, shown=("document",), images=(_document(desk),))  # type: ignore[arg-type]
            if kind != "picture":
                made = replace(made, said=("forge",), text=offer(desk.language, desk.rng))  # type: ignore[arg-type]
            if desk.rng.random() < LONGER:
                parts = [made.text, desk.sentence("neutral", made.language)]
                made = replace(made, text=joined(parts, made.language, desk.rng), said=(*made.said, "neutral"))
        labelled = desk.label(made)
        found = classify(joint=kind == "both", text=False, image=False)
        yield replace(
            labelled,
            post=labelled.post.model_copy(update={"created_at": _BEGAN + timedelta(minutes=number)}),
            labels={**labelled.labels, POLICY: found.is_violation},
            attribution={**labelled.attribution, POLICY: found},
        )


def _document(desk: PostFactory) -> Image.Image:
    sprites().update(_sprites())
    return paint(desk.pick(GLYPHS), desk.rng, size=desk.pick(SIZES)).image


@cache
def _sprites() -> dict[str, Any]:
    with Image.open(FOLDER / "glyphs.webp") as opened:
        sheet = np.asarray(opened.convert("RGBA"))
    return {glyph: sheet[:, at * CELL : (at + 1) * CELL] for at, glyph in enumerate(GLYPHS)}


def offer(language: Language, rng: np.random.Generator) -> str:
    """Words that offer to forge."""
    own = _wordings()[language]
    wording = own["wordings"][rng.integers(len(own["wordings"]))]
    return _SLOT.sub(lambda slot: str(rng.choice(own["slots"][slot[1]])), wording)


@cache
def _wordings() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / "wordings.yaml").read_text(encoding="utf-8"))
    return read
