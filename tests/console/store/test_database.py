"""Opening the database: one clear line where it can't be, and never the password; writers wait for one another."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.database import open_database
from moderation_service.console.store.tables import users
from moderation_service.errors import Fatal, Misconfigured
from tests.contracts.examples import verdict

NOW = verdict().judged_at


async def refused(url: str) -> Fatal:
    with pytest.raises(Fatal) as caught:
        async with open_database(url):
            pass
    said = str(caught.value)
    assert "console.database_url" in said
    assert "\n" not in said
    assert "secret" not in said
    return caught.value


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    error = await refused(f"sqlite:///{tmp_path}/no-such-folder/x.db")
    assert isinstance(error, Misconfigured)
    assert "no-such-folder" in str(error)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    assert isinstance(await refused(f"sqlite:///{tmp_path}/x.db"), Misconfigured)


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:"])
async def test_a_database_that_is_gone_with_its_process_is_refused(url: str) -> None:
    assert "should name a file" in str(await refused(url))


async def test_a_server_that_is_away_is_told_apart_from_one_that_refuses_us(postgres: str) -> None:
    away = await refused("postgresql://ann:secret@127.0.0.1:1/x")
    assert not isinstance(away, Misconfigured)
    server = postgres.rpartition("@")[2]
    for wrong in (
        f"postgresql://postgres:secret@{server}/no_such_database",
        f"postgresql://ann:secret@{server}/postgres",
    ):
        assert isinstance(await refused(wrong), Misconfigured)


async def test_an_address_that_is_none_is_refused() -> None:
    assert isinstance(await refused("postgresql://ann:secret@host:port/x"), Misconfigured)


async def test_consoles_that_start_together_make_the_tables_once(database_url: str) -> None:
    async def start() -> int:
        async with open_database(database_url) as opened, opened.connect() as connection:
            return (await connection.execute(select(func.count()).select_from(users))).scalar_one()

    assert await asyncio.gather(*(start() for _ in range(4))) == [0] * 4


async def test_many_writers_wait_for_one_another(database: AsyncEngine) -> None:
    async def add(number: int) -> None:
        async with database.begin() as connection:
            count = (await connection.execute(select(func.count()).select_from(users))).scalar_one()
            name = f"u{number}-{count}"
            await connection.execute(
                insert(users).values(name=name, password_hash="x", role="reviewer", created_at=NOW)
            )

    await asyncio.gather(*(add(number) for number in range(40)))
    async with database.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(users))).scalar_one() == 40


async def test_a_reader_does_not_wait_for_a_writer(database: AsyncEngine) -> None:
    async with database.begin() as writer:
        await writer.execute(insert(users).values(name="a", password_hash="x", role="reviewer", created_at=NOW))
        async with asyncio.timeout(5), database.connect() as reader:
            assert (await reader.execute(select(func.count()).select_from(users))).scalar_one() == 0


async def test_errors_do_not_quote_what_was_to_be_written(database: AsyncEngine) -> None:
    row = {"name": "a", "password_hash": "very secret", "role": "reviewer", "created_at": NOW}
    with pytest.raises(Exception, match=r"(?i)unique") as caught:  # noqa: PT012
        async with database.begin() as connection:
            await connection.execute(insert(users), [row])
            await connection.execute(insert(users), [row])
    assert "very secret" not in str(caught.value)
