"""Verdicts in the database: which is the newest, which a person is to look at, what is erased. Both databases."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import verdicts
from moderation_service.console.store.tables import job_policies, jobs, reviews
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.verdict import Verdict
from tests.contracts.examples import POLICY, verdict
from tests.stream.support import eventually

NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)
SURE = POLICY.model_copy(update={"policy_id": "violence", "violated": False, "score": 0.2, "outcome": Outcome.ALLOW})


async def put(database: AsyncEngine, *given: Verdict) -> None:
    async with database.begin() as connection:
        for one in given:
            await verdicts.put(connection, one, NOW)


async def states(database: AsyncEngine) -> dict[str, str]:
    query = select(verdicts.verdicts.c.verdict_id, jobs.c.state).join(jobs)
    async with database.connect() as connection:
        return {row.verdict_id: row.state for row in await connection.execute(query)}


async def count(database: AsyncEngine, table: Any) -> int:
    async with database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def newest(database: AsyncEngine, post_id: str = "p-17") -> list[str]:
    return [one.verdict.verdict_id for one in await verdicts.of_post(database, post_id) if one.newest]


async def test_a_verdict_comes_back_as_it_was_published(database: AsyncEngine) -> None:
    given = verdict(metadata={"deep": [1, {"zero": "\0", "escape": "\x1b0"}]}, surface="\x1bfeed\0")
    await put(database, given)
    found = await verdicts.by_id(database, "v-1")
    assert found is not None
    assert found.verdict == given
    assert (found.newest, found.received_at) == (True, NOW)
    assert await verdicts.by_id(database, "v-2") is None


async def test_a_known_verdict_changes_nothing(database: AsyncEngine) -> None:
    await put(database, verdict(decision="review"))
    await put(database, verdict(decision="allow"))
    assert [one.verdict.decision for one in await verdicts.of_post(database, "p-17")] == ["review"]
    assert await states(database) == {"v-1": "open"}


async def test_a_person_looks_at_reviews_and_abstentions_and_finds_them_by_policy(database: AsyncEngine) -> None:
    await put(
        database,
        verdict(verdict_id="blocked", post_id="a"),
        verdict(verdict_id="allowed", post_id="b", decision="allow", policies=(SURE,)),
        verdict(verdict_id="reviewed", post_id="c", decision="review", policies=(POLICY, SURE)),
        verdict(verdict_id="unsure", post_id="d", decision="abstain", policies=(SURE,), abstain_reason="truncated"),
    )
    assert await states(database) == {"reviewed": "open", "unsure": "open"}
    async with database.connect() as connection:
        query = select(jobs.c.severity, jobs.c.margin).order_by(jobs.c.severity)
        assert [tuple(row) for row in await connection.execute(query)] == [(0, 0.3), (4, 0.3)]
        of = select(job_policies.c.policy_id, job_policies.c.attribution).order_by(job_policies.c.verdict_seq)
        found = [tuple(row) for row in await connection.execute(of)]
    assert found == [("weapon_sale", "combined"), ("weapon_sale", "combined"), ("violence", "combined")]


async def test_the_newest_revision_goes_before_a_late_one_whatever_the_order(database: AsyncEngine) -> None:
    given = [verdict(verdict_id=f"r{revision}", post_revision=revision, decision="review") for revision in (1, 2, 3)]
    for number, order in enumerate(itertools.permutations(given)):
        post_id = f"p{number}"
        of_post = [
            one.model_copy(update={"post_id": post_id, "verdict_id": f"{post_id}-{one.verdict_id}"}) for one in order
        ]
        await put(database, *of_post[:2])
        async with database.begin() as connection:
            await verdicts.put_rows(connection, [verdicts.verdict_row(one, NOW) for one in of_post])
        assert await newest(database, post_id) == [f"{post_id}-r3"]
        waiting = {name for name, state in (await states(database)).items() if state == "open"}
        assert {name for name in waiting if name.startswith(f"{post_id}-")} == {f"{post_id}-r3"}


async def test_of_one_revision_the_last_word_counts(database: AsyncEngine) -> None:
    first = verdict(verdict_id="old-policies", decision="review")
    await put(database, first, verdict(verdict_id="new-policies", decision="allow"))
    assert await newest(database) == ["new-policies"]
    assert await states(database) == {"old-policies": "superseded"}


async def test_a_decided_job_stays_decided_when_a_newer_verdict_comes(database: AsyncEngine) -> None:
    await put(database, verdict(decision="review"))
    async with database.begin() as connection:
        await connection.execute(jobs.update().values(state="decided"))
    await put(database, verdict(verdict_id="v-2", post_revision=3, decision="review"))
    assert await states(database) == {"v-1": "decided", "v-2": "open"}


async def test_a_verdict_whose_review_came_first_makes_no_open_job(database: AsyncEngine) -> None:
    review = {"review_id": "r-1", "verdict_id": "v-1", "post_id": "p-17", "post_revision": 2, "decision": "allow"}
    async with database.begin() as connection:
        rest = {"policies": [], "reason": "", "reviewer": "ann", "reviewed_at": NOW, "verdict_decision": None}
        await connection.execute(insert(reviews).values(**review, **rest))
    await put(database, verdict(decision="review"))
    assert await states(database) == {"v-1": "decided"}
    async with database.connect() as connection:
        assert (await connection.execute(select(reviews.c.verdict_decision))).scalar_one() == "review"


async def test_verdicts_are_listed_by_page_and_filter_the_last_first(database: AsyncEngine) -> None:
    decisions = ["review", "block", "allow", "review", "block"]
    for number, decision in enumerate(decisions):
        policies = (SURE,) if decision == "allow" else (POLICY,)
        await put(
            database, verdict(verdict_id=f"v{number}", post_id=f"p{number}", decision=decision, policies=policies)
        )

    async def ids(**filters: Any) -> list[str]:
        return [one.verdict.verdict_id for one in await verdicts.listed(database, **{"limit": 10, **filters})]

    assert await ids(limit=2) == ["v4", "v3"]
    last = (await verdicts.listed(database, limit=2))[-1]
    assert await ids(before=last.seq) == ["v2", "v1", "v0"]
    assert await ids(decision="review") == ["v3", "v0"]
    assert await ids(policy_id="weapon_sale") == ["v4", "v3", "v1", "v0"]
    assert await ids(policy_id="violence") == []
    assert await ids(post_id="p2") == ["v2"]


async def test_a_deleted_post_leaves_no_row_behind(database: AsyncEngine) -> None:
    await put(database, verdict(decision="review"), verdict(verdict_id="other", post_id="other", decision="review"))
    async with database.begin() as connection:
        await verdicts.erase(connection, ["p-17"])
    assert await verdicts.of_post(database, "p-17") == []
    assert await states(database) == {"other": "open"}
    assert [await count(database, table) for table in (verdicts.verdicts, jobs, job_policies)] == [1, 1, 1]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_who_erases_waits_for_who_is_adding(database: AsyncEngine) -> None:
    async def erase() -> None:
        async with database.begin() as connection:
            await verdicts.erase(connection, ["p-17"])

    async def waits() -> bool:
        async with database.connect() as connection:
            query = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return (await connection.execute(query)).scalar_one() == 1

    async with database.begin() as connection:
        await verdicts.put(connection, verdict(), NOW)
        erasing = asyncio.create_task(erase())
        await eventually(waits, "it waits")
    await erasing
    assert await count(database, verdicts.verdicts) == 0
