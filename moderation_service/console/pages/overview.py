"""Overview page: how much, how decided, how fast, and what waits; its charts as shapes that the template draws."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.catalogues import Catalogue
from moderation_service.console.context import context_of
from moderation_service.console.pages.numbers import milliseconds, number
from moderation_service.console.pages.render import language_of, page
from moderation_service.console.pages.words import decided_title
from moderation_service.console.store import queue, traffic
from moderation_service.console.store.traffic import Bucket
from moderation_service.contracts.enums import STRONGEST_FIRST, Decision

WIDTH, HEIGHT = 600, 150
_KEPT = timedelta(seconds=5)
_SPANS: dict[str, tuple[timedelta, int]] = {
    "1h": (timedelta(hours=1), 60),
    "24h": (timedelta(days=1), 48),
    "7d": (timedelta(days=7), 42),
    "30d": (timedelta(days=30), 30),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of a stacked column."""

    kind: Decision
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """A line, broken where there is nothing; `area` under it, or none."""

    kind: str
    path: str
    area: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What the template `chart` wants. `most` and `last` say in words what the plot shows."""

    bars: tuple[Bar, ...]
    lines: tuple[LineChart, ...]
    top_label: str
    most: str
    last: str
    first_moment: str
    last_moment: str
    width: int = WIDTH
    height: int = HEIGHT


def stacked(
    buckets: Sequence[Bucket],
    kinds: Sequence[Decision],
    of: Callable[[Bucket], Mapping[str, int]],
    language: Catalogue,
) -> Plot:
    """A column a bucket, from below in the order of `kinds`."""
    totals = [sum(of(bucket).get(kind, 0) for kind in kinds) for bucket in buckets]
    top, step = nice(max(totals, default=0)), WIDTH / len(buckets)
    counted = partial(number, locale=language.locale)
    bars = []
    for at, bucket in enumerate(buckets):
        y = float(HEIGHT)
        for kind in kinds:
            if count := of(bucket).get(kind, 0):
                height = HEIGHT * count / top
                y -= height
                title = f"{_moment(bucket, buckets)}: {language.gettext(decided_title(kind))} {counted(count)}"
                bars.append(
                    Bar(
                        kind,
                        round(at * step + step * 0.1, 2),
                        round(y, 2),
                        round(step * 0.8, 2),
                        round(height, 2),
                        title,
                    )
                )
    return _plot(buckets, tuple(bars), (), counted(top), (counted(max(totals, default=0)), counted(totals[-1])))


def lines(
    buckets: Sequence[Bucket],
    kinds: Sequence[tuple[str, Callable[[Bucket], float | None]]],
    unit: Callable[[float], str],
    *,
    filled: bool = False,
) -> Plot:
    """A line for each of `kinds`, by the value that it gives of a bucket."""
    values = [[of(bucket) for bucket in buckets] for _, of in kinds]
    known = [value for line in values for value in line if value is not None]
    top = nice(max(known, default=0))
    drawn = tuple(_line(kind, line, top, filled=filled) for (kind, _), line in zip(kinds, values, strict=True))
    last = next((value for value in reversed(values[-1]) if value is not None), 0)
    return _plot(buckets, (), drawn, unit(top), (unit(max(known, default=0)), unit(last)))


def nice(most: float) -> float:
    """The next of 1, 2, 5, 10, 20, … that is not under it."""
    top = 1.0
    while top < most:
        for step in (2, 2.5, 2):
            top *= step
            if top >= most:
                break
    return top


def _line(kind: str, values: Sequence[float | None], top: float, *, filled: bool) -> LineChart:
    step = WIDTH / max(len(values) - 1, 1)
    path, area, run = [], [], list[tuple[float, float]]()
    for at, value in enumerate([*values, None]):
        if value is not None:
            run.append((round(at * step, 2), round(HEIGHT - HEIGHT * value / top, 2)))
        elif run:
            if len(run) == 1:  # a point alone would not be seen: a dash through it, within the plot
                ((x, y),) = run
                run = [(max(0.0, x - step / 4), y), (min(float(WIDTH), x + step / 4), y)]
            path.append("M" + " L".join(f"{x} {y}" for x, y in run))
            area.append(f"{path[-1]} V{HEIGHT} H{run[0][0]} Z")
            run = []
    return LineChart(kind, " ".join(path), " ".join(area) if filled else "")


def _plot(
    buckets: Sequence[Bucket], bars: tuple[Bar, ...], drawn: tuple[LineChart, ...], top: str, said: tuple[str, str]
) -> Plot:
    first, last = _moment(buckets[0], buckets), _moment(buckets[-1], buckets)
    return Plot(bars, drawn, top, said[0], said[1], first, f"{last} UTC")


def _moment(bucket: Bucket, buckets: Sequence[Bucket]) -> str:
    start: datetime = bucket.start
    return f"{start:%m-%d}" if buckets[-1].start - buckets[0].start > timedelta(days=2) else f"{start:%H:%M}"


_BY_PEOPLE = tuple(decision for decision in STRONGEST_FIRST if not decision.needs_review)


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
            charts=_drawn(seen, language_of(request)),
            counts=await queue.counts(database, now=now),
            links=context_of(request).settings.console.links,
        )


def _drawn(seen: traffic.TrafficFigures, language: Catalogue) -> dict[str, Plot]:
    took, counted = (partial(unit, locale=language.locale) for unit in (milliseconds, number))
    return {
        "volume": stacked(seen.buckets, STRONGEST_FIRST, lambda one: one.decisions, language),
        "decided": stacked(seen.buckets, _BY_PEOPLE, lambda one: one.people, language),
        "latency": lines(seen.buckets, [("p95", lambda one: one.p95), ("p50", lambda one: one.p50)], took),
        "backlog": lines(seen.buckets, [("backlog", lambda one: float(one.backlog))], counted, filled=True),
    }
