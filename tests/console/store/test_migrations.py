"""The migrations make the tables that the queries are written with."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.database import open_database
from moderation_service.console.store.tables import METADATA, users
from moderation_service.errors import Misconfigured


async def test_the_migrations_make_the_tables_that_the_code_knows(database: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, METADATA))

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_console_that_is_not_to_migrate_waits_for_the_job_that_does(database_url: str) -> None:
    with pytest.raises(Misconfigured, match="moderation console --migrate"):
        async with open_database(database_url, migrate=False):
            pass
    async with open_database(database_url):
        pass
    async with open_database(database_url, migrate=False) as database, database.connect() as connection:
        assert (await connection.execute(select(users))).all() == []


@pytest.mark.parametrize("migrate", [True, False])
async def test_after_a_rollback_the_tables_of_the_next_release_still_serve(database_url: str, migrate: bool) -> None:  # noqa: FBT001
    async with open_database(database_url) as database, database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = 'next'"))
    async with open_database(database_url, migrate=migrate) as database, database.connect() as connection:
        assert (await connection.execute(select(users))).all() == []
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "next"
