"""Keys: shown once, kept as a digest, for their scopes alone, refused once revoked; on record."""

import json

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.accounts import api_keys
from moderation_service.console.store import tables
from moderation_service.console.store.tables import outbox
from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings
from tests.console.api.callers import Api, problem

KAFKA = KafkaSettings()
WHO = "user:anna@desk"


async def test_a_key_is_known_until_it_is_revoked_and_its_secret_is_nowhere_in_the_database(
    database: AsyncEngine,
) -> None:
    key = await api_keys.create(database, KAFKA, "uploads", ["judge", "read"], actor=WHO)
    known = await api_keys.check(database, key)
    assert known is not None
    assert (known.name, known.may("judge"), known.may("read"), known.may("review")) == ("uploads", True, True, False)
    async with database.connect() as connection:
        kept = str((await connection.execute(select(tables.api_keys))).one()) + str(
            (await connection.execute(select(outbox))).all()
        )
    assert key.rpartition("_")[2] not in kept
    await api_keys.revoke(database, KAFKA, known.key_id, actor=WHO)
    assert await api_keys.check(database, key) is None
    (listed,) = await api_keys.listed(database)
    assert listed.revoked_at is not None


@pytest.mark.parametrize("spoilt", ["", "x", "moderation_0123456789ab_" + "A" * 43, "Bearer"])
async def test_what_is_no_key_of_ours_is_nobody(database: AsyncEngine, spoilt: str) -> None:
    assert await api_keys.check(database, spoilt) is None


async def test_a_key_with_another_secret_is_nobody(database: AsyncEngine) -> None:
    key = await api_keys.create(database, KAFKA, "uploads", ["judge"], actor=WHO)
    assert await api_keys.check(database, key[:-1] + ("A" if key[-1] != "A" else "B")) is None


async def test_an_admin_key_is_for_everything(database: AsyncEngine) -> None:
    known = await api_keys.check(database, await api_keys.create(database, KAFKA, "ops", ["admin"], actor=WHO))
    assert known is not None
    assert all(known.may(scope) for scope in ("judge", "read", "review", "admin"))


async def test_who_made_and_who_revoked_a_key_waits_for_the_audit_topic(database: AsyncEngine) -> None:
    key = await api_keys.create(database, KAFKA, "uploads", ["read"], actor=WHO)
    key_id = key.split("_")[1]
    await api_keys.revoke(database, KAFKA, key_id, actor=WHO)
    async with database.connect() as connection:
        rows = (await connection.execute(select(outbox).order_by(outbox.c.number))).all()
    told = [json.loads(row.value) for row in rows]
    assert {row.topic for row in rows} == {KAFKA.audit_topic}
    assert [(one["action"], one["target"], one["actor"]) for one in told] == [
        ("key.created", key_id, WHO),
        ("key.revoked", key_id, WHO),
    ]
    assert told[0]["details"] == {"name": "uploads", "scopes": "read"}


@pytest.mark.parametrize(("name", "scopes"), [("", ["read"]), ("a b", ["read"]), ("a", []), ("a", ["write"])])
async def test_a_key_that_cannot_be_says_what_would_be_right(
    database: AsyncEngine, name: str, scopes: list[str]
) -> None:
    with pytest.raises(Misconfigured, match="keys create"):
        await api_keys.create(database, KAFKA, name, scopes, actor=WHO)


async def test_a_key_is_revoked_once(database: AsyncEngine) -> None:
    with pytest.raises(Misconfigured, match="no such key in use"):
        await api_keys.revoke(database, KAFKA, "0" * 12, actor=WHO)


async def test_a_revoked_key_is_refused_from_the_next_request_on(quiet_api: Api) -> None:
    async with quiet_api.caller() as http:
        async with http.get("/v1/verdicts") as answer:
            assert answer.status == 200
        await api_keys.revoke(quiet_api.context.database, KAFKA, quiet_api.key.split("_")[1], actor=WHO)
        async with http.get("/v1/verdicts") as answer:
            assert await problem(answer) == (401, "no_key")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
