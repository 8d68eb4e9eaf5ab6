"""What posts say: a sentence of an intent, in English or Chinese, from `wordings.yaml` and the folder `wordings`."""

import re
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np
import yaml

from moderation_service.contracts.engine_input import Language

Intent = Literal["sale", "cure", "invest", "meet", "group", "menace", "threat", "dox", "context", "neutral"]
INTENTS: tuple[Intent, ...] = get_args(Intent)

COMPOSED = 0.3
"""The share of trained sentences that are put together from phrases."""

HeldOut = bool | Literal["reworded"]
"""Which sentences: those trained on, those never trained on, or those whose like was trained on in other words."""

_SLOT = re.compile(r"\{(\w+)\}")


def sentence(intent: Intent, language: Language, rng: np.random.Generator, *, held_out: HeldOut = False) -> str:
    """One sentence; with `held_out`, in a wording that the model was never trained on."""
    wordings = _wordings()["intents"][intent][language]
    kept = _kept(held_out) or ("composed" if rng.random() < COMPOSED else None)
    return _fill(_pick(tuple(wordings[kept]) if kept else _trained(intent, language), rng), language, rng)


def injection(language: Language, rng: np.random.Generator, *, held_out: HeldOut = False) -> str:
    """Words that try to give the model orders."""
    return _pick(tuple(_wordings()["injections"][language]["held_out" if held_out else "trained"]), rng)


def templates(intent: Intent, language: Language, *, held_out: HeldOut = False) -> tuple[str, ...]:
    """The wordings of an intent, slots unfilled."""
    wordings = _wordings()["intents"][intent][language]
    kept = _kept(held_out)
    return tuple(wordings[kept]) if kept else (*_trained(intent, language), *wordings["composed"])


def joined(parts: list[str], language: Language, rng: np.random.Generator) -> str:
    """Sentences one behind the other, as people do."""
    between = ("。", "，", " ", "！", "\n") if language == "zh" else (". ", ", ", " ", "! ", "\n", " - ")
    ends = ("", "", "。", "！") if language == "zh" else ("", "", ".", "!")
    text = _pick(between, rng).join(parts) + _pick(ends, rng)
    if language == "en" and rng.random() < 0.2:
        return text.lower()
    return text


def _fill(template: str, language: Language, rng: np.random.Generator) -> str:
    slots = _wordings()["slots"][language]
    filled = template
    while _SLOT.search(filled):  # a slot's words may hold slots
        filled = _SLOT.sub(lambda slot: _pick(tuple(slots[slot[1]]), rng), filled)
    return filled[:1].upper() + filled[1:]


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def _kept(held_out: HeldOut) -> str | None:
    """The key of wordings that training never uses."""
    return "reworded" if held_out == "reworded" else ("held_out" if held_out else None)


@cache
def _trained(intent: Intent, language: Language) -> tuple[str, ...]:
    """The whole sentences that the model learns from."""
    source = files("moderation_service.demo").joinpath("wordings", language, f"{intent}.txt")
    return tuple(source.read_text(encoding="utf-8").splitlines())


@cache
def _wordings() -> dict[str, Any]:
    source = files("moderation_service.demo").joinpath("wordings.yaml")
    loaded: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return loaded
