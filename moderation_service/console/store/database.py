"""The database: SQLite in a file by default, PostgreSQL by its address; its tables are migrated first."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from moderation_service.errors import Fatal, Misconfigured
from moderation_service.settings import Settings

SETTING = "console.database_url"
_SQLITE = "sqlite:///"
_BUSY_S = 30.0  # how long one writer waits for another
_CONNECT_S = 20.0
_POOL = 10  # connections kept; as many again are opened where there is need
_MIGRATIONS = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = 7_301_001  # the advisory lock of whoever migrates
_WRITES = "moderation_writes"
_ALWAYS: dict[str, Any] = {
    "pool_size": _POOL,
    "max_overflow": _POOL,
    "hide_parameters": True,  # in errors, which are logged
    # what is not a number in JSON is null, or PostgreSQL refuses the row
    "json_serializer": lambda value: to_json(value, inf_nan_mode="null").decode(),
    "json_deserializer": from_json,
}


_log = structlog.get_logger(__name__)
_FAULTS = (SQLAlchemyError, sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError)


class _OneWriter(AsyncEngine):
    """SQLite, which has one writer at a time: a block of `begin` waits for its turn at its start, not in its middle."""

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        async with self.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection


@asynccontextmanager
async def open_database(url: str, *, migrate: bool = True) -> AsyncIterator[AsyncEngine]:
    """The database at `url` (sqlite:///PATH or postgresql://...) with the newest tables, until the block is left.

    Read in `connect()`, write in `begin()`: one block is one transaction. The next release's tables serve this one too.
    Raises Misconfigured for an address that is none or refuses us, and for older tables that are not to be migrated;
    Fatal where nobody answers; neither shows the password.
    """
    database = _sqlite(url) if url.startswith(_SQLITE) else _postgresql(url)
    try:
        try:
            if url.startswith(_SQLITE):
                await asyncio.to_thread(_look_at, database.url.database or "")
            async with database.begin() as connection:
                await connection.run_sync(_migrate if migrate else _check)
        except (*_FAULTS, OSError, ValueError) as error:
            raise _said(url, error) from None
        yield database
    finally:
        await database.dispose()


def own_database(settings: Settings) -> AbstractAsyncContextManager[AsyncEngine]:
    """The database that the settings name, as `open_database` opens it."""
    return open_database(settings.console.database_url.get_secret_value(), migrate=settings.console.migrate)


def _sqlite(url: str) -> AsyncEngine:
    path = url.removeprefix(_SQLITE)
    if not path or path == ":memory:":
        msg = f"{SETTING} {url}: should name a file, sqlite:///PATH"
        raise Misconfigured(msg)
    made = create_async_engine(f"sqlite+aiosqlite:///{path}", connect_args={"timeout": _BUSY_S}, **_ALWAYS)
    engine = made.sync_engine

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: object) -> None:  # noqa: ANN401 - SQLAlchemy's face of aiosqlite
        connection.isolation_level = None  # or Python's sqlite3 begins transactions by its own rules
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return _OneWriter(engine)


async def truncate_log(database: AsyncEngine) -> None:
    """Empty SQLite's write-ahead log, where what was deleted stands until it is overwritten; PostgreSQL has its own.

    While somebody reads it stays as it is.
    """
    if database.dialect.name == "sqlite":
        await asyncio.to_thread(_truncate_log, database.url.database or "")


def _truncate_log(path: str) -> None:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=1.0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _look_at(path: str) -> None:
    """Raise sqlite3.Error for a file that is none of SQLite's: aiosqlite would leave a thread behind."""
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        connection.execute("PRAGMA schema_version")


def _postgresql(url: str) -> AsyncEngine:
    async def connect() -> Any:  # noqa: ANN401 - asyncpg's connection, which SQLAlchemy wraps
        return await asyncpg.connect(url, timeout=_CONNECT_S)  # it reads all that libpq's addresses can say

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, **_ALWAYS)


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
    config = _alembic()
    config.attributes["connection"] = connection
    if not _is_newer(connection):
        command.upgrade(config, "head")


def _check(connection: Connection) -> None:
    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    if not _is_newer(connection) and _revision(connection) != head:
        msg = f"{SETTING}: its tables are older than this release. Run `moderation console --migrate` first"
        raise Misconfigured(msg)


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_newer(connection: Connection) -> bool:
    """Whether a newer release made the tables: after a rollback."""
    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    revision = _revision(connection)
    if revision is None or revision in known:
        return False
    _log.warning("the tables were made by a newer release", revision=revision)
    return True


def _said(url: str, error: Exception) -> Fatal:
    """What is wrong in one line, without the password."""
    cause = getattr(error, "orig", None) or error
    why = str(cause.__cause__ or cause).splitlines()[:1] or [type(cause).__name__]
    try:
        password = urlsplit(url).password
    except ValueError:
        return Misconfigured(f"{SETTING}: no address; should be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
    msg = f"{SETTING} {url.partition('?')[0]}: {why[0]}"  # what follows the question mark may be a password too
    if password:
        msg = msg.replace(password, "***")
    return Fatal(msg) if isinstance(cause, (OSError, TimeoutError)) else Misconfigured(msg)
