"""The queue: in order, filtered, and each job with one reviewer at a time."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import queue
from moderation_service.console.store.queue import Counts, Filters, Job
from tests.console.queue.made import NOW, kept, policy, verdict

ALL = Filters()
LEASE_S = 300.0


async def lease_next(database: AsyncEngine, reviewer: str, filters: Filters = ALL, after_s: float = 0) -> Job | None:
    return await queue.lease_next(database, reviewer, filters, now=NOW + timedelta(seconds=after_s), lease_s=LEASE_S)


async def lease(database: AsyncEngine, reviewer: str, verdict_id: str, after_s: float = 0) -> Job | None:
    return await queue.lease(database, reviewer, verdict_id, now=NOW + timedelta(seconds=after_s), lease_s=LEASE_S)


async def listed(database: AsyncEngine, filters: Filters = ALL, after_s: float = 0) -> list[Job]:
    return await queue.listed(database, filters, limit=10, now=NOW + timedelta(seconds=after_s))


async def test_the_gravest_come_first_then_the_least_sure_then_the_oldest(database: AsyncEngine) -> None:
    grave = verdict("grave", policy(severity=5, score=0.8))
    unsure = verdict("unsure", policy(severity=3, score=0.51))
    old = verdict("old", policy(severity=3, score=0.75), judged_at=NOW - timedelta(days=1))
    new = verdict("new", policy(severity=3, score=0.75))
    light = verdict("light", policy(severity=1, score=0.51))
    await kept(database, light, new, old, unsure, grave)
    assert [job.post_id for job in await listed(database)] == ["grave", "unsure", "old", "new", "light"]
    assert [job.post_id for job in await queue.listed(database, ALL, limit=2, now=NOW)] == ["grave", "unsure"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(policy_id="doxxing"), {"b"}),
        (Filters(policy_id="weapon_sale"), {"a", "c"}),
        (Filters(policy_id="weapon_sale", attribution="text_only"), set()),
        (Filters(attribution="text_only"), {"b"}),
        (Filters(language="zh"), {"b", "c"}),
        (Filters(abstain_reason="truncated"), {"c"}),
        (Filters(decision="abstain"), {"c"}),
        (Filters(decision="review", language="zh"), {"b"}),
        (ALL, {"a", "b", "c"}),
    ],
)
async def test_filters_leave_what_was_asked_for(database: AsyncEngine, filters: Filters, found: set[str]) -> None:
    low = policy(score=0.2, attribution="none")
    await kept(
        database,
        verdict("a"),
        verdict("b", policy("doxxing", attribution="text_only"), language="zh"),
        verdict("c", low, decision="abstain", abstain_reason="truncated", language="zh"),
        verdict("d", low, decision="allow"),
    )
    assert {job.post_id for job in await listed(database, filters)} == found
    leased = set()
    while job := await lease_next(database, f"r{len(leased)}", filters):
        leased.add(job.post_id)
    assert leased == found


async def test_a_language_longer_than_an_index_takes_is_no_reason_to_lose_a_job(database: AsyncEngine) -> None:
    await kept(database, verdict("a", language="x" + "".join(map(chr, range(0x4E00, 0x5E00)))))
    assert [job.post_id for job in await listed(database)] == ["a"]


async def test_a_leased_job_is_no_one_elses(database: AsyncEngine) -> None:
    first, second = await kept(database, verdict("a", policy(severity=5)), verdict("b"))
    job = await lease_next(database, "ann")
    assert job
    assert (job.verdict_id, job.leased_by, job.leased_until) == (first, "ann", NOW + timedelta(seconds=LEASE_S))
    assert await lease(database, "bob", first) is None
    other = await lease_next(database, "bob")
    assert other
    assert other.verdict_id == second
    assert await lease_next(database, "cid") is None
    assert [(job.verdict_id, job.leased_by) for job in await listed(database)] == [(first, "ann"), (second, "bob")]


async def test_who_holds_a_job_gets_it_again_for_longer(database: AsyncEngine) -> None:
    _, second = await kept(database, verdict("a", policy(severity=5)), verdict("b", policy("doxxing")))
    assert await lease(database, "ann", second)
    for again in (await lease_next(database, "ann", after_s=10), await lease(database, "ann", second, after_s=10)):
        assert again
        assert (again.verdict_id, again.leased_until) == (second, NOW + timedelta(seconds=10 + LEASE_S))
    other = await lease_next(database, "ann", Filters(policy_id="weapon_sale"))
    assert other
    assert other.verdict_id != second


async def test_a_lease_that_is_over_is_anybodys(database: AsyncEngine) -> None:
    (only,) = await kept(database, verdict("a"))
    assert await lease_next(database, "ann")
    assert await lease_next(database, "bob", after_s=LEASE_S - 1) is None
    assert [job.leased_by for job in await listed(database, after_s=LEASE_S)] == [None]
    job = await lease_next(database, "bob", after_s=LEASE_S)
    assert job
    assert (job.verdict_id, job.leased_by) == (only, "bob")
    assert await lease(database, "ann", only, after_s=LEASE_S) is None


async def test_a_job_can_be_given_back_by_who_holds_it(database: AsyncEngine) -> None:
    (only,) = await kept(database, verdict("a"))
    assert await lease_next(database, "ann")
    await queue.release(database, "bob", only)
    assert await lease(database, "bob", only) is None
    await queue.release(database, "ann", only)
    assert await lease(database, "bob", only)


async def test_what_is_out_of_date_or_unknown_can_not_be_leased(database: AsyncEngine) -> None:
    (old,) = await kept(database, verdict("a"))
    (new,) = await kept(database, verdict("a", post_revision=2))
    assert await lease(database, "ann", old) is None
    assert await lease(database, "ann", "no-such-verdict") is None
    job = await lease_next(database, "ann")
    assert job
    assert job.verdict_id == new


async def test_the_counts_tell_how_many_wait_and_since_when(database: AsyncEngine) -> None:
    assert await queue.counts(database, now=NOW) == Counts(0, 0, 0, 0, None)
    yesterday = NOW - timedelta(days=1)
    await kept(
        database,
        verdict("a"),
        verdict("b"),
        verdict("c", decision="abstain", abstain_reason="truncated", judged_at=yesterday),
        verdict("d", decision="block", judged_at=yesterday - timedelta(days=1)),
    )
    assert await lease_next(database, "ann")
    assert await queue.counts(database, now=NOW) == Counts(3, 1, 2, 1, yesterday)
    assert (await queue.counts(database, now=NOW + timedelta(seconds=LEASE_S))).leased == 0
