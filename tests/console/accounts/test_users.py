"""Users: passwords are hashed, disabled users are out, and a name that is nobody's costs the same work."""

from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.tables import outbox
from moderation_service.console.store.tables import users as users_table
from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry
from tests.console.accounts.browser import PASSWORD


async def add(context: ConsoleContext, name: str, password: str = PASSWORD, role: Any = "reviewer") -> None:
    await users.add(context.database, context.settings.kafka, name, password, role=role, actor="user:test")


async def disable(context: ConsoleContext, name: str) -> None:
    await users.disable(context.database, context.settings.kafka, name, actor="user:test")


async def known(context: ConsoleContext, name: str, password: str = PASSWORD) -> bool:
    return await users.known(context.database, name, password)


async def test_a_password_is_kept_as_argon2id_alone(database: AsyncEngine) -> None:
    for name in ("ann", "bob"):
        await users.add(database, KafkaSettings(), name, PASSWORD, role="reviewer", actor="user:test")
    async with database.connect() as connection:
        rows = (await connection.execute(select(users_table))).all()
    assert len({row.password_hash for row in rows}) == 2, "one password, two salts"
    for row in rows:
        assert row.password_hash.startswith("$argon2id$")
        assert extract_parameters(row.password_hash) == RFC_9106_LOW_MEMORY
        assert PASSWORD not in str(row)
    assert await users.known(database, "ann", PASSWORD)


async def test_only_the_right_password_of_an_enabled_user_is_known(context: ConsoleContext) -> None:
    assert await known(context, "ann")
    assert not await known(context, "ann", PASSWORD + "x")
    assert not await known(context, "ann", "")
    assert not await known(context, "nobody")
    await disable(context, "ann")
    assert not await known(context, "ann")


async def test_the_same_work_is_done_for_known_unknown_and_disabled_names(
    context: ConsoleContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    await disable(context, "root")
    await known(context, "nobody")  # what stands in for nobody's is hashed once a process
    work = []
    verify, hash_ = PasswordHasher.verify, PasswordHasher.hash

    def verified(self: PasswordHasher, hashed: str, password: str) -> Any:
        work.append(("verify", str(extract_parameters(hashed)), len(hashed)))
        return verify(self, hashed, password)

    def hashed(self: PasswordHasher, password: str) -> str:
        work.append(("hash", "", 0))
        return hash_(self, password)

    monkeypatch.setattr(PasswordHasher, "verify", verified)
    monkeypatch.setattr(PasswordHasher, "hash", hashed)
    for name, password in (("ann", PASSWORD), ("ann", "wrong"), ("nobody", PASSWORD), ("root", PASSWORD)):
        await known(context, name, password)
    assert work == [("verify", *work[0][1:])] * 4


@pytest.mark.parametrize("name", ["", "a b", "a" * 65, "a\nb", "<script>", "名"])
async def test_a_name_that_can_not_be_taken_is_refused(context: ConsoleContext, name: str) -> None:
    with pytest.raises(Misconfigured, match="a name is 1 to 64 of"):
        await add(context, name)


@pytest.mark.parametrize("length", [0, 11, 257])
async def test_a_password_too_short_or_too_long_is_refused_without_being_shown(
    context: ConsoleContext, length: int
) -> None:
    password = "q" * length
    with pytest.raises(Misconfigured, match=f"the password has {length} characters; should be 12 to 256") as refused:
        await add(context, "bob", password)
    assert not length or password not in str(refused.value)


async def test_a_user_who_is_there_is_not_overwritten(context: ConsoleContext) -> None:
    with pytest.raises(Misconfigured, match="users add ann: is there already"):
        await add(context, "ann", "another password", "admin")
    assert await known(context, "ann")
    assert [user.role for user in await users.listed(context.database) if user.name == "ann"] == ["reviewer"]


async def test_a_disabled_user_can_be_begun_anew(context: ConsoleContext) -> None:
    await disable(context, "ann")
    await add(context, "ann", "another password", "admin")
    assert await known(context, "ann", "another password")
    assert not await known(context, "ann")
    assert [(user.name, user.role, user.disabled_at) for user in await users.listed(context.database)] == [
        ("ann", "admin", None),
        ("root", "admin", None),
    ]


@pytest.mark.parametrize("name", ["nobody", "ann"])
async def test_who_can_not_log_in_anyway_is_not_disabled(context: ConsoleContext, name: str) -> None:
    await disable(context, "ann")
    with pytest.raises(Misconfigured, match=f"users disable {name}: no such user, or disabled already"):
        await disable(context, name)


async def test_users_added_and_disabled_are_for_the_audit_without_their_passwords(context: ConsoleContext) -> None:
    await disable(context, "ann")
    async with context.database.connect() as connection:
        rows = (await connection.execute(select(outbox).order_by(outbox.c.number))).all()
    told = [AuditEntry.model_validate_json(row.value) for row in rows]
    assert {row.topic for row in rows} == {context.settings.kafka.audit_topic}
    assert [(entry.action, entry.actor, entry.target, entry.details) for entry in told] == [
        ("user.added", "user:test", "ann", {"role": "reviewer"}),
        ("user.added", "user:test", "root", {"role": "admin"}),
        ("user.disabled", "user:test", "ann", {}),
    ]
    assert PASSWORD.encode() not in b"".join(row.value for row in rows)
