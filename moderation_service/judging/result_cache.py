"""LRU cache of results by content, with single-flight: posts of the same content are judged once.

A result holds all of a verdict that is the same for every post of that content.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Self

from pydantic import TypeAdapter

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import AbstainReason, Content, Decision, PolicyVerdict, Verdict
from moderation_service.judging.explanation import Explanation
from moderation_service.judging.shadow import Shadowed
from moderation_service.telemetry import metrics


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the tokens that the model read for it (all modality passes)."""

    verdict: Verdict
    tokens: int


@dataclass(frozen=True, slots=True)
class CachedResult:
    """`post_id` and `revision` are of the post that was judged; `tokens` and milliseconds are what that took."""

    post_id: str
    revision: int
    language: Language
    content: Content
    suspected: bool  # whether words look meant for the model
    policies: tuple[PolicyVerdict, ...]
    shadowed: Shadowed
    decision: Decision
    unseen: AbstainReason | None
    explanation: Explanation
    tokens: int
    attribution_ms: float
    explain_ms: float

    @property
    def lasting(self) -> bool:
        """Whether nothing failed on the way that might go well the next time."""
        return self.shadowed.whole and self.explanation.lasting

    def again(self) -> Self:
        """The same for another post, for which nothing had to be asked."""
        return replace(self, tokens=0, attribution_ms=0.0, explain_ms=0.0)


_JSON = TypeAdapter(CachedResult)


class ResultCache:
    """Results by the content's key, those used last, at most `most`; 0: every post is judged itself.

    They are kept as JSON: 4 KB of eight policies, a quarter of the objects.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._in_flight: dict[str, asyncio.Future[CachedResult | None]] = {}

    async def get_or_compute(self, key: str | None, compute: Callable[[], Awaitable[CachedResult]]) -> CachedResult:
        """The cached result of a content, else what `compute` returns. A content without a key is never cached.

        Single-flight: one caller computes, concurrent callers wait. If it fails or is cancelled, the next takes over.
        Raises what `compute` raises.
        """
        if key is None or not self._most:
            return await compute()
        while (found := self._recall(key)) is None and (other := self._in_flight.get(key)):
            if found := await asyncio.shield(other):
                break
        if found:
            metrics.CACHE_HITS.inc()
            return found.again()
        metrics.CACHE_MISSES.inc()
        mine = self._in_flight[key] = asyncio.get_running_loop().create_future()
        try:
            found = await compute()
            self._keep(key, found)
        finally:
            del self._in_flight[key]
            mine.set_result(found)
        return found

    def _recall(self, key: str) -> CachedResult | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return _JSON.validate_json(kept)

    def _keep(self, key: str, found: CachedResult) -> None:
        if found.lasting:
            self._kept[key] = _JSON.dump_json(found, by_alias=True)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
