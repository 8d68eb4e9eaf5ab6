"""How much was judged, how it was decided, how long it took and what waits: by spans of time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, cast, extract, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.audits import NEEDS_REVIEW, decides, is_owed
from moderation_service.console.store.tables import jobs, reviews, verdicts

_EDGES_MS = tuple(10 ** (exponent / 12) for exponent in range(61))
"""1 ms to 100 s, each a fifth over the one before: a quantile is right to within that, and mostly far nearer."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One span of time from `start`. Milliseconds; `backlog`: what waited for a person at its end."""

    start: datetime
    decisions: Mapping[str, int]
    people: Mapping[str, int]
    p50: float | None
    p95: float | None
    backlog: int


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """The whole span and its buckets, the oldest first. `buckets` end now."""

    buckets: tuple[Bucket, ...]
    decisions: Mapping[str, int]
    p50: float | None
    p95: float | None

    @property
    def total(self) -> int:
        """Posts judged."""
        return sum(self.decisions.values())

    def share(self, decision: str) -> float | None:
        """The share of a decision; None of nothing."""
        return self.decisions.get(decision, 0) / self.total if self.total else None


async def figures(database: AsyncEngine, *, now: datetime, span: timedelta, buckets: int) -> TrafficFigures:
    """The last `span` in so many buckets. Quantiles are read off a histogram of equal ratios."""
    step = int(span.total_seconds()) // buckets
    first = (int(now.timestamp()) // step - buckets + 1) * step
    since = datetime.fromtimestamp(first, UTC)
    at, slow = _bucket(verdicts.c.judged_at, step), _bin(verdicts.c.total_ms)
    judged = select(at, verdicts.c.decision, slow, func.count()).where(verdicts.c.judged_at >= since)
    person = _bucket(reviews.c.reviewed_at, step)
    people = select(person, reviews.c.decision, func.count()).where(reviews.c.reviewed_at >= since, decides)
    async with database.connect() as connection:
        rows = (await connection.execute(judged.group_by(at, verdicts.c.decision, slow))).all()
        decided = (await connection.execute(people.group_by(person, reviews.c.decision))).all()
        opened, closed, waiting = await _jobs(connection, since, step)
    by_start, people_by_start = _grouped(rows), _grouped(decided)
    made = list[Bucket]()
    for start in range(first + (buckets - 1) * step, first - 1, -step):  # back from what waits now
        own = by_start[start]
        p50, p95 = _quantiles(own)
        people_here = Counter({row[1]: row[2] for row in people_by_start[start]})
        moment = datetime.fromtimestamp(start, UTC)
        made.append(Bucket(moment, _by_decision(own), people_here, p50, p95, max(waiting, 0)))
        waiting += closed[start] - opened[start]
    return TrafficFigures(tuple(reversed(made)), _by_decision(rows), *_quantiles(rows))


async def oldest(database: AsyncEngine) -> datetime | None:
    """When the first verdict that is kept was judged; None without any."""
    async with database.connect() as connection:
        found: datetime | None = await connection.scalar(select(func.min(verdicts.c.judged_at)))
        return found


async def _jobs(connection: Any, since: datetime, step: int) -> tuple[Counter[int], Counter[int], int]:  # noqa: ANN401
    """Jobs that a post waits or waited for: those that came and that went, by bucket, and how many are open."""
    came = _bucket(jobs.c.judged_at, step)
    of_posts = or_(jobs.c.audit.is_(None), jobs.c.decision.in_(NEEDS_REVIEW))
    opened = select(came, func.count()).where(jobs.c.judged_at >= since, of_posts).group_by(came)
    first = (
        select(func.min(reviews.c.reviewed_at).label("moment"))
        .join(verdicts, verdicts.c.verdict_id == reviews.c.verdict_id)
        .join(jobs, jobs.c.verdict_seq == verdicts.c.seq)
        .where(or_(jobs.c.state == "decided", ~is_owed), of_posts, decides)
        .group_by(jobs.c.verdict_seq)
        .subquery()
    )
    newer = verdicts.alias()
    passed = (
        select(func.min(newer.c.judged_at).label("moment"))
        .select_from(jobs)
        .join(verdicts, verdicts.c.seq == jobs.c.verdict_seq)
        .join(newer, (newer.c.post_id == verdicts.c.post_id) & (newer.c.seq > verdicts.c.seq))
        .where(jobs.c.state == "superseded", newer.c.judged_at >= since, is_owed)
        .group_by(jobs.c.verdict_seq)
        .subquery()
    )
    closed = Counter[int]()
    for gone in (first, passed):
        went = _bucket(gone.c.moment, step)
        rows = await connection.execute(select(went, func.count()).where(gone.c.moment >= since).group_by(went))
        closed.update({int(row[0]): row[1] for row in rows})
    came_at = Counter({int(row[0]): row[1] for row in await connection.execute(opened)})
    waiting = (await connection.execute(select(func.count()).where(jobs.c.state == "open", is_owed))).scalar_one()
    return came_at, closed, waiting


def _bucket(moment: ColumnElement[Any], step: int) -> ColumnElement[int]:
    """The start of the moment's bucket, in seconds since 1970."""
    seconds = cast(func.floor(extract("epoch", moment)), BigInteger)
    return seconds - seconds % step


def _bin(milliseconds: ColumnElement[float]) -> ColumnElement[int]:
    return case(*((milliseconds < edge, at) for at, edge in enumerate(_EDGES_MS)), else_=len(_EDGES_MS))


def _grouped(rows: Iterable[Any]) -> defaultdict[int, list[Any]]:
    """By the first column, the start of a bucket."""
    grouped = defaultdict[int, list[Any]](list)
    for row in rows:
        grouped[int(row[0])].append(row)
    return grouped


def _by_decision(rows: Iterable[Any]) -> Counter[str]:
    counted = Counter[str]()
    for _, decision, _, count in rows:
        counted[decision] += count
    return counted


def _quantiles(rows: Iterable[Any]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, between the edges as if each bin were even."""
    counted = Counter[int]()
    for _, _, at, count in rows:
        counted[at] += count
    total = counted.total()
    return (_quantile(counted, 0.5 * total), _quantile(counted, 0.95 * total)) if total else (None, None)


def _quantile(counted: Counter[int], rank: float) -> float:
    under = 0
    for at in sorted(counted):
        if under + counted[at] >= rank:
            low = _EDGES_MS[at - 1] if at else 0.0
            high = _EDGES_MS[min(at, len(_EDGES_MS) - 1)]
            return low + (high - low) * (rank - under) / counted[at]
        under += counted[at]
    return _EDGES_MS[-1]
