"""The migrations make the tables that the queries are written with."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.tables import METADATA


async def test_the_migrations_make_the_tables_that_the_code_knows(database: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, METADATA))

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []
