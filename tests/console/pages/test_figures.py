"""What overview and policies count, on both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.proportion import Proportion
from moderation_service.console.pages import overview as charts
from moderation_service.console.store import tables, traffic, verdicts
from moderation_service.console.store.quality import lately, quality
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.verdict import ShadowModelVerdict, Timings, Verdict
from tests.contracts.examples import MODEL, POLICY, verdict

NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def of(name: str, decision: str, at: datetime, total_ms: float = 20.0, revision: int = 1, **more: Any) -> Verdict:
    timings = Timings(queue=0, fetch=0, decode=0, score=0, attribution=0, explain=0, total=total_ms)
    reason = "truncated" if decision == "abstain" else None
    named = {"verdict_id": f"v-{name}-{revision}", "post_id": name, "post_revision": revision, "judged_at": at}
    return verdict(**named, decision=decision, abstain_reason=reason, timings_ms=timings, **more)


async def keep(database: AsyncEngine, *made: Verdict) -> None:
    async with database.begin() as connection:
        for one in made:
            await verdicts.put(connection, one, one.judged_at)


async def review(database: AsyncEngine, of: Verdict, by: str, decision: str, at: datetime, **violated: bool) -> None:
    row = {
        "review_id": f"r-{of.verdict_id}-{by}-{at}",
        "verdict_id": of.verdict_id,
        "post_id": of.post_id,
        "post_revision": of.post_revision,
        "decision": decision,
        "verdict_decision": of.decision,
        "policies": [{"policy_id": name, "violated": said} for name, said in violated.items()],
        "reason": "",
        "reviewer": by,
        "reviewed_at": at,
    }
    async with database.begin() as connection:
        await connection.execute(insert(tables.reviews).values(row))
        await connection.execute(
            update(tables.jobs)
            .where(tables.jobs.c.verdict_seq == 1 + int(of.post_id.removeprefix("p")))
            .values(state="decided")
        )


async def test_volumes_times_and_backlog_are_by_bucket(database: AsyncEngine) -> None:
    at = NOW - 2 * HOUR
    made = [of("p0", "review", at), of("p1", "abstain", at + HOUR), of("p2", "allow", at + 2 * HOUR)]
    await keep(database, *made, of("p3", "block", NOW - 9 * HOUR))
    await review(database, made[0], "mei", "block", at + HOUR)
    seen = await traffic.figures(database, now=NOW, span=4 * HOUR, buckets=4)
    assert [bucket.start.hour for bucket in seen.buckets] == [9, 10, 11, 12]
    assert [dict(bucket.decisions) for bucket in seen.buckets] == [{}, {"review": 1}, {"abstain": 1}, {"allow": 1}]
    assert [dict(bucket.people) for bucket in seen.buckets] == [{}, {}, {"block": 1}, {}]
    assert [bucket.backlog for bucket in seen.buckets] == [0, 1, 1, 1]
    assert (seen.total, seen.share("allow")) == (3, pytest.approx(1 / 3))


def test_a_point_alone_is_a_dash_within_the_plot() -> None:
    buckets = [traffic.Bucket(NOW + number * HOUR, {}, {}, None, None, 0) for number in range(4)]
    for at in range(4):
        plot = charts.lines(buckets, [("p50", lambda one, at=at: 5.0 if one is buckets[at] else None)], str)
        left, right = (float(point.split()[0]) for point in plot.lines[0].path.removeprefix("M").split(" L"))
        assert 0 <= left < right <= charts.WIDTH


async def test_a_job_that_a_newer_revision_took_waits_no_more(database: AsyncEngine) -> None:
    await keep(database, of("p0", "review", NOW - 2 * HOUR), of("p0", "allow", NOW - HOUR, revision=2))
    seen = await traffic.figures(database, now=NOW, span=4 * HOUR, buckets=4)
    assert [bucket.backlog for bucket in seen.buckets] == [0, 1, 0, 0]


async def test_quantiles_are_near_the_true_ones(database: AsyncEngine) -> None:
    times = np.random.default_rng(5).gamma(4, 30, 400)
    await keep(database, *(of(f"p{n}", "allow", NOW, float(time)) for n, time in enumerate(times)))
    seen = await traffic.figures(database, now=NOW, span=HOUR, buckets=2)
    assert seen.p50 == pytest.approx(np.quantile(times, 0.5), rel=0.08)
    assert seen.p95 == pytest.approx(np.quantile(times, 0.95), rel=0.08)


async def test_an_empty_store_has_no_shares_and_no_times(database: AsyncEngine) -> None:
    seen = await traffic.figures(database, now=NOW, span=HOUR, buckets=3)
    assert (seen.total, seen.share("block"), seen.p50, seen.p95) == (0, None, None, None)


async def test_precision_overturns_and_agreement_are_by_each_persons_last_word(database: AsyncEngine) -> None:
    flagged = (POLICY, POLICY.model_copy(update={"policy_id": "doxxing", "violated": False}))
    made = [of(f"p{n}", "review" if n else "block", NOW, policies=flagged) for n in range(3)]
    await keep(database, *made)
    await review(database, made[0], "mei", "allow", NOW, weapon_sale=False, doxxing=True)
    await review(database, made[1], "mei", "allow", NOW, weapon_sale=False)
    await review(database, made[1], "mei", "block", NOW + HOUR, weapon_sale=True)
    await review(database, made[1], "ann", "block", NOW, weapon_sale=True)
    await review(database, made[2], "mei", "allow", NOW, weapon_sale=False)
    await review(database, made[2], "ann", "block", NOW - 9 * HOUR, weapon_sale=True)
    found = await quality(database, NOW - HOUR)
    assert found.reviews == 5
    assert found.overturned == Proportion(1, 1)
    assert found.let_go == Proportion(1, 3)
    assert found.agreed == Proportion(1, 1)
    assert found.policies == {"weapon_sale": Proportion(2, 4)}


async def test_shadow_flips_are_counted_as_the_metric_counts_them(database: AsyncEngine) -> None:
    milder = POLICY.model_copy(update={"outcome": Outcome.REVIEW})
    alone = POLICY.model_copy(update={"policy_id": "spam", "outcome": Outcome.REVIEW})
    await keep(
        database,
        of("p0", "block", NOW, policies=(POLICY,), shadow=(milder, alone)),  # another outcome; no stronger than block
        of("p1", "allow", NOW, policies=(), shadow=(alone,)),  # stronger than allow
        of("p2", "block", NOW, policies=(POLICY,), shadow=(alone,)),  # out of the shadow policy's scope: as if allowed
    )
    found = await lately(database, 10)
    assert found.seen == 3
    assert found.violations == {"weapon_sale": 2}
    assert found.flips == {"weapon_sale": 2, "spam": 1}
    assert found.shadowed == {"weapon_sale", "spam"}


async def test_flips_of_a_shadow_model_are_told_from_those_of_shadow_policies(database: AsyncEngine) -> None:
    no = POLICY.model_copy(update={"violated": False, "outcome": Outcome.ALLOW})
    said = [ShadowModelVerdict(model=MODEL, policies=(part,)) for part in (no, POLICY)]
    await keep(
        database,
        of("p0", "block", NOW, policies=(POLICY,), shadow_model=said[0]),
        of("p1", "block", NOW, policies=(POLICY,), shadow_model=said[1]),
        of("p2", "allow", NOW, policies=(no,)),  # not drawn
    )
    found = await lately(database, 10)
    assert (found.model_seen, found.model_flips) == (2, {"weapon_sale": 1})
    assert (found.flips, found.shadowed) == ({}, set())
