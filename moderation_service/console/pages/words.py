"""Small things as people read them."""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache

from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.verdict import Attribution
from moderation_service.telemetry.redaction import redacted

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
