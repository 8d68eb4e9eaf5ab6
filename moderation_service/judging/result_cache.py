"""LRU cache of results by content key, with single-flight: posts of the same content are judged once.

A result holds all of a verdict that is the same for every post of that content.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from cachetools import LRUCache
from pydantic import TypeAdapter

from moderation_service.contracts.enums import AbstainReason, DecidedBy, Decision, Flag, Route
from moderation_service.contracts.verdict import Content, PolicyVerdict, ShadowModelVerdict
from moderation_service.judging.explanation import Explanation
from moderation_service.judging.shadow import ShadowResult
from moderation_service.telemetry import metrics


@dataclass(frozen=True, slots=True)
class CachedResult:
    """`post_id` and `revision` are of the post that was judged; `tokens` and milliseconds are what that took."""

    post_id: str
    revision: int
    content: Content
    flags: tuple[Flag, ...]
    policies: tuple[PolicyVerdict, ...]
    shadow: ShadowResult
    decision: Decision
    decided_by: DecidedBy
    route: Route | None
    abstain_reason: AbstainReason | None
    explanation: Explanation
    shadow_model: ShadowModelVerdict | None
    tokens: int
    attribution_ms: float
    explain_ms: float

    @property
    def is_cacheable(self) -> bool:
        """Whether nothing failed on the way that may succeed the next time."""
        return self.shadow.is_complete and self.explanation.is_cacheable

    def for_duplicate(self) -> Self:
        """The same for another post, for which nothing had to be asked."""
        return replace(self, tokens=0, attribution_ms=0.0, explain_ms=0.0)


_JSON = TypeAdapter(CachedResult)


@dataclass(slots=True)
class CacheEntry:
    """One content's entry. Where `result` is None, its holder alone computes it, and sets it."""

    result: CachedResult | None


class ResultCache:
    """The `max_entries` results that were used last; 0: every post is judged itself.

    They are kept as JSON: 4 KB of eight policies, a quarter of the objects.
    """

    def __init__(self, max_entries: int) -> None:
        self._kept = LRUCache[str, bytes](max_entries)
        self._in_flight: dict[str, asyncio.Future[CachedResult | None]] = {}

    @asynccontextmanager
    async def entry(self, key: str | None) -> AsyncIterator[CacheEntry]:
        """The entry of a content; without a key, one that is never kept.

        Single-flight: one caller computes, concurrent callers wait. If it fails or is cancelled, the next takes over.
        """
        if key is None or not self._kept.maxsize:
            yield CacheEntry(None)
            return
        while (result := self._recall(key)) is None and (other := self._in_flight.get(key)):
            if result := await asyncio.shield(other):
                break
        if result:
            metrics.CACHE_HITS.inc()
            yield CacheEntry(result.for_duplicate())
            return
        metrics.CACHE_MISSES.inc()
        mine = self._in_flight[key] = asyncio.get_running_loop().create_future()
        entry = CacheEntry(None)
        try:
            yield entry
            if entry.result and entry.result.is_cacheable:
                self._kept[key] = _JSON.dump_json(entry.result, by_alias=True)
        finally:
            del self._in_flight[key]
            mine.set_result(entry.result)

    def _recall(self, key: str) -> CachedResult | None:
        kept = self._kept.get(key)
        return None if kept is None else _JSON.validate_json(kept)
