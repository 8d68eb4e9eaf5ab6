"""LRU cache of results by content, with single-flight: posts of the same content are judged once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter

from moderation_service.judging.cached_result import CachedResult
from moderation_service.telemetry import metrics

_JSON = TypeAdapter(CachedResult)


class ResultCache:
    """Findings by the content's key, those asked for last, at most `most`; 0: every post is judged itself.

    They are kept as JSON: 4 KB of eight policies, a quarter of the objects.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._sought: dict[str, asyncio.Future[CachedResult | None]] = {}

    async def findings(self, key: str | None, seek: Callable[[], Awaitable[CachedResult]]) -> CachedResult:
        """The cached result of a content, else what `seek` computes. A content without a key is never cached.

        Single-flight: one caller computes, concurrent callers wait. If it fails or is cancelled, the next takes over.
        Raises what `seek` raises.
        """
        if key is None or not self._most:
            return await seek()
        while (found := self._recall(key)) is None and (sought := self._sought.get(key)):
            if found := await asyncio.shield(sought):
                break
        if found:
            metrics.CACHE_HITS.inc()
            return found.again()
        metrics.CACHE_MISSES.inc()
        mine = self._sought[key] = asyncio.get_running_loop().create_future()
        try:
            found = await seek()
            self._keep(key, found)
        finally:
            del self._sought[key]
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
