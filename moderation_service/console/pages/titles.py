"""Titles of closed sets, in English: the keys of their translations."""

from typing import Any, assert_never

from moderation_service.contracts.enums import AbstainReason, AttributionClass, Decision, Flag, ImageStatus

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


ALL: dict[str, dict[Any, str]] = {
    "DECISIONS": {decision: decision_title(decision) for decision in Decision},
    "DECIDED": {decision: decided_title(decision) for decision in Decision},
    "REASONS": _REASONS,
    "STATUSES": _STATUSES,
    "CLASSES": _CLASSES,
    "FLAGS": _FLAGS,
}
"""By the name that templates have for them."""
