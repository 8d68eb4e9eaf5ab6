"""What pages say of closed sets, and redacted texts."""

import asyncio
import re
from functools import lru_cache
from typing import Any, assert_never

from moderation_service.console.accounts.users import Role
from moderation_service.console.catalogues import Catalogue, MsgId
from moderation_service.contracts.bank import BankAction, EntryKind
from moderation_service.contracts.enums import AbstainReason, AttributionClass, Decision, Flag, ImageStatus
from moderation_service.contracts.verdict import Attribution
from moderation_service.telemetry.redaction import redacted

_REASONS = {
    AbstainReason.IMAGE_UNAVAILABLE: MsgId("a picture was unavailable"),
    AbstainReason.IMAGE_UNDECODABLE: MsgId("a picture could not be read"),
    AbstainReason.IMAGE_SKIPPED: MsgId("more pictures than are read of a post"),
    AbstainReason.TRUNCATED: MsgId("more words than are read of a post"),
    AbstainReason.LABEL_MASS_LOW: MsgId("the model gave no clear answer"),
}
_STATUSES = {
    ImageStatus.JUDGED: MsgId("judged"),
    ImageStatus.UNAVAILABLE: MsgId("unavailable"),
    ImageStatus.REFUSED: MsgId("address refused"),
    ImageStatus.TOO_LARGE: MsgId("too large"),
    ImageStatus.UNDECODABLE: MsgId("could not be read"),
    ImageStatus.UNSUPPORTED: MsgId("unknown format"),
    ImageStatus.SKIPPED: MsgId("not read: too many"),
}
_CLASSES = {
    AttributionClass.COMBINED: MsgId("words and picture together"),
    AttributionClass.TEXT_ONLY: MsgId("words"),
    AttributionClass.IMAGE_ONLY: MsgId("picture"),
    AttributionClass.EITHER: MsgId("words and picture each"),
    AttributionClass.CONTEXT_MITIGATED: MsgId("mitigated by context"),
    AttributionClass.NONE: MsgId("nowhere"),
}
_FLAGS = {
    Flag.IMAGE_MISSING: MsgId("picture missing"),
    Flag.IMAGE_DOWNSCALED: MsgId("picture read at a much reduced size"),
    Flag.IMAGE_TRUNCATED: MsgId("picture cut short"),
    Flag.TRUNCATED: MsgId("cut short"),
    Flag.INJECTION_SUSPECTED: MsgId("suspected prompt injection"),
}

_ACTIONS = {
    BankAction.BLOCK: MsgId("Known content: blocked"),
    BankAction.REVIEW: MsgId("Known content: to review"),
    BankAction.ESCALATE: MsgId("Known content: escalated"),
    BankAction.LABEL: MsgId("Known content: labelled"),
    BankAction.ALLOW: MsgId("Known to be harmless"),
}
_ENTRY_KINDS: dict[EntryKind, MsgId] = {
    "image_pdq": MsgId("near copies of a picture"),
    "image_sha256": MsgId("a picture's bytes"),
    "terms": MsgId("words"),
    "urls": MsgId("a link"),
}
_ROLES: dict[Role, MsgId] = {"reviewer": MsgId("reviewer"), "admin": MsgId("administrator")}


def decision_title(decision: Decision) -> MsgId:
    """As the answer to what becomes of a post."""
    match decision:
        case Decision.ALLOW:
            return MsgId("Allow")
        case Decision.REVIEW:
            return MsgId("Review")
        case Decision.BLOCK:
            return MsgId("Block")
        case Decision.ABSTAIN:
            return MsgId("Abstained")
    assert_never(decision)


def decided_title(decision: Decision) -> MsgId:
    """As the heading of posts of that decision."""
    match decision:
        case Decision.ALLOW:
            return MsgId("Allowed")
        case Decision.REVIEW:
            return MsgId("To review")
        case Decision.BLOCK:
            return MsgId("Blocked")
        case Decision.ABSTAIN:
            return MsgId("Abstained")
    assert_never(decision)


TITLES: dict[str, dict[Any, MsgId]] = {
    "DECISIONS": {decision: decision_title(decision) for decision in Decision},
    "DECIDED": {decision: decided_title(decision) for decision in Decision},
    "REASONS": _REASONS,
    "STATUSES": _STATUSES,
    "CLASSES": _CLASSES,
    "FLAGS": _FLAGS,
    "ACTIONS": _ACTIONS,
    "ENTRY_KINDS": _ENTRY_KINDS,
    "ROLES": _ROLES,
}
"""Titles of closed sets, by the name that templates have for them."""


_ATTRIBUTION = {
    AttributionClass.COMBINED: MsgId(
        "Only together: the words alone pass, the picture alone passes, and both together do not."
    ),
    AttributionClass.TEXT_ONLY: MsgId("In the words: they alone are over the threshold, and the picture alone is not."),
    AttributionClass.IMAGE_ONLY: MsgId("In the picture: it alone is over the threshold, and the words alone are not."),
    AttributionClass.EITHER: MsgId("In both: the words alone and the picture alone are each over the threshold."),
    AttributionClass.CONTEXT_MITIGATED: MsgId(
        "Mitigated by context: one part alone is over the threshold, and both together are not."
    ),
    AttributionClass.NONE: MsgId("Nowhere: neither the whole post nor a part of it is over the threshold."),
}
"""What each class means."""
_ALONE = {
    AttributionClass.TEXT_ONLY: MsgId("In the words: the post has no picture."),
    AttributionClass.IMAGE_ONLY: MsgId("In the picture: the post has no words."),
}

Parts = tuple[tuple[bool, str], ...]
"""A redacted text in parts; the first of a pair says whether the part stands for something taken out."""

MAX_SHOWN = 20_000  # characters of a post's words on a page
_KEPT = 256
_COLON = re.compile("(?<=[:：])")
_MARKS = re.compile(r"(\[(?:phone|ID card|bank card|e-mail|account)\])")


def attribution(found: Attribution, catalogue: Catalogue) -> tuple[str, str]:
    """Where the violation lies, as a sentence in two parts of which the first is the answer."""
    whole = found.text_only is not None and found.image_only is not None
    meaning = _ATTRIBUTION[found.class_]
    said = catalogue.gettext(meaning if whole else _ALONE.get(found.class_, meaning))
    answer, *rest = _COLON.split(said, maxsplit=1)
    return answer, "".join(rest)


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


def short(digest: str | None) -> str:
    """As much of a digest as tells it from others."""
    return "–" if digest is None else digest.removeprefix("sha256:")[:12]
