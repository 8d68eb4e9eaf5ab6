"""What pages say of closed sets, redacted texts, shares and durations."""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, assert_never

from moderation_service.contracts.bank import BankAction, EntryKind
from moderation_service.contracts.enums import AbstainReason, AttributionClass, Decision, Flag, ImageStatus
from moderation_service.contracts.verdict import Attribution
from moderation_service.telemetry.redaction import redacted

_REASONS = {
    AbstainReason.IMAGE_UNAVAILABLE: "a picture was unavailable",
    AbstainReason.IMAGE_UNDECODABLE: "a picture could not be read",
    AbstainReason.IMAGE_SKIPPED: "more pictures than are read of a post",
    AbstainReason.TRUNCATED: "more words than are read of a post",
    AbstainReason.LABEL_MASS_LOW: "the model gave no clear answer",
}
_STATUSES = {
    ImageStatus.JUDGED: "judged",
    ImageStatus.UNAVAILABLE: "unavailable",
    ImageStatus.REFUSED: "address refused",
    ImageStatus.TOO_LARGE: "too large",
    ImageStatus.UNDECODABLE: "could not be read",
    ImageStatus.UNSUPPORTED: "unknown format",
    ImageStatus.SKIPPED: "not read: too many",
}
_CLASSES = {
    AttributionClass.COMBINED: "words and picture together",
    AttributionClass.TEXT_ONLY: "words",
    AttributionClass.IMAGE_ONLY: "picture",
    AttributionClass.EITHER: "words and picture each",
    AttributionClass.CONTEXT_MITIGATED: "mitigated by context",
    AttributionClass.NONE: "nowhere",
}
_FLAGS = {
    Flag.IMAGE_MISSING: "picture missing",
    Flag.IMAGE_DOWNSCALED: "picture read at a much reduced size",
    Flag.IMAGE_TRUNCATED: "picture cut short",
    Flag.TRUNCATED: "cut short",
    Flag.INJECTION_SUSPECTED: "suspected prompt injection",
}

_ACTIONS = {
    BankAction.BLOCK: "Known content: blocked",
    BankAction.REVIEW: "Known content: to review",
    BankAction.ESCALATE: "Known content: escalated",
    BankAction.LABEL: "Known content: labelled",
    BankAction.ALLOW: "Known to be harmless",
}
_ENTRY_KINDS: dict[EntryKind, str] = {
    "image_pdq": "near copies of a picture",
    "image_sha256": "a picture's bytes",
    "terms": "words",
    "urls": "a link",
}


def decision_title(decision: Decision) -> str:
    """As the answer to what becomes of a post."""
    match decision:
        case Decision.ALLOW:
            return "Allow"
        case Decision.REVIEW:
            return "Review"
        case Decision.BLOCK:
            return "Block"
        case Decision.ABSTAIN:
            return "Abstained"
    assert_never(decision)


def decided_title(decision: Decision) -> str:
    """As the heading of posts of that decision."""
    match decision:
        case Decision.ALLOW:
            return "Allowed"
        case Decision.REVIEW:
            return "To review"
        case Decision.BLOCK:
            return "Blocked"
        case Decision.ABSTAIN:
            return "Abstained"
    assert_never(decision)


TITLES: dict[str, dict[Any, str]] = {
    "DECISIONS": {decision: decision_title(decision) for decision in Decision},
    "DECIDED": {decision: decided_title(decision) for decision in Decision},
    "REASONS": _REASONS,
    "STATUSES": _STATUSES,
    "CLASSES": _CLASSES,
    "FLAGS": _FLAGS,
    "ACTIONS": _ACTIONS,
    "ENTRY_KINDS": _ENTRY_KINDS,
}
"""Titles of closed sets, in English: the keys of their translations; by the name that templates have for them."""


ATTRIBUTION = {
    AttributionClass.COMBINED: (
        "Only together: the words alone pass, the picture alone passes, and both together do not."
    ),
    AttributionClass.TEXT_ONLY: "In the words: they alone are over the threshold, and the picture alone is not.",
    AttributionClass.IMAGE_ONLY: "In the picture: it alone is over the threshold, and the words alone are not.",
    AttributionClass.EITHER: "In both: the words alone and the picture alone are each over the threshold.",
    AttributionClass.CONTEXT_MITIGATED: (
        "Mitigated by context: one part alone is over the threshold, and both together are not."
    ),
    AttributionClass.NONE: "Nowhere: neither the whole post nor a part of it is over the threshold.",
}
"""What each class means, in English, as the key of its translations."""
_ALONE = {
    AttributionClass.TEXT_ONLY: "In the words: the post has no picture.",
    AttributionClass.IMAGE_ONLY: "In the picture: the post has no words.",
}

Parts = tuple[tuple[bool, str], ...]
"""A redacted text in parts; the first of a pair says whether the part stands for something taken out."""

MAX_SHOWN = 20_000  # characters of a post's words on a page
_KEPT = 256
_MARKS = re.compile(r"(\[(?:phone|ID card|bank card|e-mail|account)\])")


def attribution(found: Attribution, translated: Callable[[str], str]) -> tuple[str, str]:
    """Where the violation lies, as a sentence in two parts of which the first is the answer."""
    whole = found.text_only is not None and found.image_only is not None
    said = translated(ATTRIBUTION[found.class_] if whole else _ALONE.get(found.class_, ATTRIBUTION[found.class_]))
    answer, colon, rest = re.split("([:：])", said, maxsplit=1)
    return answer + colon, rest


async def redacted_all(*texts: str) -> list[Parts]:
    """Each text redacted, off the event loop, and cut to `MAX_SHOWN` characters."""
    return await asyncio.to_thread(lambda: [redacted_parts(text[:MAX_SHOWN]) for text in texts])


async def redacted_id(text: str) -> Parts:
    """An id; digits alone stay, an e-mail address, a mobile or a bank card do not."""
    said = "id "  # as a number behind this word is read
    (first, *rest), *_ = await redacted_all(said + text)
    return ((first[0], first[1].removeprefix(said)), *rest)


@lru_cache(_KEPT)
def redacted_parts(text: str) -> Parts:
    """LRU cache of redacted texts: an open page asks again every few seconds."""
    parts = enumerate(_MARKS.split(redacted(text)))
    return tuple((at % 2 == 1, part) for at, part in parts if part)


def share(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"  # noqa: PLR2004 - small shares need a digit more


def milliseconds(value: float | None) -> str:
    """A duration with the unit that suits it."""
    if value is None:
        return "–"
    if value >= 1000:  # noqa: PLR2004
        return f"{value / 1000:.3g} s"
    return f"{value:.3g} ms"


def short(digest: str | None) -> str:
    """As much of a digest as tells it from others."""
    return "–" if digest is None else digest.removeprefix("sha256:")[:12]
