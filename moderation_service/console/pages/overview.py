"""Overview: how much, how decided, how fast, and what waits."""

import asyncio
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.context import context_of
from moderation_service.console.pages import charts
from moderation_service.console.pages.render import page
from moderation_service.console.store import queue, traffic
from moderation_service.contracts.enums import STRONGEST_FIRST

_BY_PEOPLE = tuple(decision for decision in STRONGEST_FIRST if not decision.needs_review)
_KEPT = timedelta(seconds=5)
_SPANS: dict[str, tuple[timedelta, int]] = {
    "1h": (timedelta(hours=1), 60),
    "24h": (timedelta(days=1), 48),
    "7d": (timedelta(days=7), 42),
    "30d": (timedelta(days=30), 30),
}


class Overview:
    """The page. Its figures are of all verdicts of a span, so they are counted once for all who look."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._kept: dict[str, tuple[datetime, traffic.TrafficFigures]] = {}
        self._counting = asyncio.Lock()

    async def show(self, request: Request) -> Response:
        """The last span, in buckets that end now."""
        database, now = context_of(request).database, datetime.now(UTC)
        span = request.query_params.get("span")
        if span not in _SPANS:  # a day, or an hour where that holds all there is
            oldest = await traffic.oldest(database)
            span = "1h" if oldest is not None and now - oldest < _SPANS["1h"][0] else "24h"
        async with self._counting:
            counted_at, seen = self._kept.get(span, (None, None))
            if counted_at is None or seen is None or now - counted_at > _KEPT:
                length, buckets = _SPANS[span]
                seen = await traffic.figures(database, now=now, span=length, buckets=buckets)
                self._kept[span] = now, seen
        return page(
            request,
            "overview.html",
            span=span,
            seen=seen,
            decisions=STRONGEST_FIRST,
            people=_BY_PEOPLE,
            charts=_drawn(seen),
            counts=await queue.counts(database, now=now),
        )


def _drawn(seen: traffic.TrafficFigures) -> dict[str, charts.Plot]:
    return {
        "volume": charts.stacked(seen.buckets, STRONGEST_FIRST, lambda one: one.decisions),
        "decided": charts.stacked(seen.buckets, _BY_PEOPLE, lambda one: one.people),
        "latency": charts.lines(
            seen.buckets, [("p95", lambda one: one.p95), ("p50", lambda one: one.p50)], charts.took
        ),
        "backlog": charts.lines(
            seen.buckets, [("backlog", lambda one: float(one.backlog))], charts.counted, filled=True
        ),
    }
