"""`POST /v1/appeals`: a block goes back to the queue, and the next review is its outcome."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from moderation_service.console.store import queue, verdicts
from moderation_service.console.store.queue import Filters
from moderation_service.console.store.tables import jobs, outbox
from moderation_service.contracts.audit import AuditDraw
from tests.console.api.callers import ON_SQLITE, Api, problem
from tests.contracts.examples import verdict

pytestmark = ON_SQLITE
NOW = datetime.now(UTC)


async def keep(api: Api, *named: str, **fields: object) -> None:
    async with api.context.database.begin() as connection:
        for number, name in enumerate(named):
            await verdicts.put(connection, verdict(verdict_id=name, post_revision=number, **fields), NOW)


async def answered(api: Api, path: str, asked: dict[str, object], status: int = 201) -> dict[str, str]:
    async with api.caller() as caller, caller.post(f"/v1/{path}", json=asked) as answer:
        assert answer.status == status, await answer.text()
        found: dict[str, str] = await answer.json()
        return found


async def waiting(api: Api) -> list[tuple[str, str | None]]:
    found = await queue.listed(api.context.database, Filters(), limit=10, now=NOW)
    return [(job.verdict_id, job.reason) for job in found]


async def test_a_block_waits_for_a_person_once_and_may_be_appealed_again(quiet_api: Api) -> None:
    await keep(quiet_api, "v-1")
    first = await answered(quiet_api, "appeals", {"verdict_id": "v-1", "filed_by": "author-9"})
    assert await answered(quiet_api, "appeals", {"verdict_id": "v-1"}) == first
    assert await waiting(quiet_api) == [("v-1", "appeal")]
    async with quiet_api.context.database.connect() as connection:
        assert "appeal.filed" in [row.key.decode() for row in await connection.execute(select(outbox.c.key))]
    await answered(quiet_api, "reviews", {"verdict_id": "v-1", "decision": "block"})
    assert await waiting(quiet_api) == []
    again = await answered(quiet_api, "appeals", {"verdict_id": "v-1"})
    assert again["appeal_id"] != first["appeal_id"]
    assert await waiting(quiet_api) == [("v-1", "appeal")]
    await answered(quiet_api, "reviews", {"verdict_id": "v-1", "decision": "allow"})
    assert (await answered(quiet_api, "appeals", {"verdict_id": "v-1"}, 409))["code"] == "not_blocked"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"decision": "allow", "policies": ()}, (409, "not_blocked")),
        ({"route": "child_safety"}, (404, "not_found")),
    ],
)
async def test_what_blocks_nothing_or_has_a_route_is_not_appealed(
    quiet_api: Api, fields: dict[str, object], expected: tuple[int, str]
) -> None:
    await keep(quiet_api, "v-1", **fields)
    async with quiet_api.caller() as caller, caller.post("/v1/appeals", json={"verdict_id": "v-1"}) as answer:
        assert await problem(answer) == expected


async def test_a_verdict_that_a_newer_one_replaced_is_not_appealed(quiet_api: Api) -> None:
    await keep(quiet_api, "v-1", "v-2")
    assert (await answered(quiet_api, "appeals", {"verdict_id": "v-1"}, 409))["code"] == "not_blocked"


async def test_a_blind_audit_gives_way_to_an_appeal(quiet_api: Api) -> None:
    await keep(quiet_api, "v-1", audit=AuditDraw(stratum="block", probability=0.5, is_sampled=True))
    assert await waiting(quiet_api) == []
    await answered(quiet_api, "appeals", {"verdict_id": "v-1"})
    assert await waiting(quiet_api) == [("v-1", "appeal")]
    assert (await answered(quiet_api, "reviews", {"verdict_id": "v-1", "decision": "allow"}))["decision"] == "allow"


async def test_what_a_person_blocked_is_appealed_like_a_verdict(quiet_api: Api) -> None:
    await keep(quiet_api, "v-1", decision="review")
    await answered(quiet_api, "reviews", {"verdict_id": "v-1", "decision": "block"})
    async with quiet_api.context.database.begin() as connection:
        await connection.execute(update(jobs).values(leased_by="ann"))
    await answered(quiet_api, "appeals", {"verdict_id": "v-1"})
    assert await waiting(quiet_api) == [("v-1", "appeal")]
