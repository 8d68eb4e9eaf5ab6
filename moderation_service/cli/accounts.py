"""`moderation keys` and `moderation users`: who may call the console's API, and who may log in to its pages."""

import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.cli.common import SettingsFile, load
from moderation_service.console.accounts import api_keys
from moderation_service.console.accounts import users as accounts
from moderation_service.console.store.database import own_database
from moderation_service.errors import Misconfigured
from moderation_service.settings import Settings
from moderation_service.telemetry.audit import user

_T = TypeVar("_T")
keys = App(name="keys", help="Keys of the console's HTTP API.")
users = App(name="users", help="People who may log in to the console.")


@keys.command(name="create")
def create_key(
    name: str,
    /,
    *,
    scope: Annotated[
        list[str], Parameter(help="judge, read, review, banks, admin or child_safety; repeat it for several.")
    ],
    settings: SettingsFile = None,
) -> int:
    """Make a key and print it, this once; `--scope` is one of those below. `admin` is all but `child_safety`.

    Example: `moderation keys create uploads --scope judge --scope read`
    """
    loaded = load(settings)
    print(_with_database(loaded, lambda db: api_keys.create(db, loaded.kafka, name, scope, actor=user())))
    return 0


@keys.command(name="list")
def list_keys(*, settings: SettingsFile = None) -> int:
    """Print the keys, a JSON line each, without their secrets.

    Example: `moderation keys list | jq 'select(.revoked_at == null)'`
    """
    _print_rows(_with_database(load(settings), api_keys.listed))
    return 0


@keys.command(name="revoke")
def revoke_key(key_id: str, /, *, settings: SettingsFile = None) -> int:
    """Refuse a key from now on.

    Example: `moderation keys revoke 3f9c0a17b2d4`
    """
    loaded = load(settings)
    _with_database(loaded, lambda db: api_keys.revoke(db, loaded.kafka, key_id, actor=user()))
    return 0


@users.command(name="add")
def add_user(
    name: str,
    /,
    *,
    role: Literal["reviewer", "admin"] = "reviewer",
    permission: Annotated[
        list[Literal["adjudicate", "banks", "child_safety"]] | None, Parameter(help="No role includes it.")
    ] = None,
    settings: SettingsFile = None,
) -> int:
    """Let a person log in to the console; the password is asked for, or the first line of standard input.

    A disabled user is enabled again, with this password, role and permissions.

    Example: `pass show moderation/ann | moderation users add ann`
    """
    loaded = load(settings)
    password = read_password()
    _with_database(
        loaded,
        lambda db: accounts.add(
            db, loaded.kafka, name, password, role=role, actor=user(), permissions=permission or ()
        ),
    )
    return 0


@users.command(name="list")
def list_users(*, settings: SettingsFile = None) -> int:
    """Print the users, a JSON line each.

    Example: `moderation users list | jq 'select(.disabled_at == null)'`
    """
    _print_rows(_with_database(load(settings), accounts.listed))
    return 0


@users.command(name="disable")
def disable_user(name: str, /, *, settings: SettingsFile = None) -> int:
    """Stop a person from logging in, and end their sessions.

    Example: `moderation users disable ann`
    """
    loaded = load(settings)
    _with_database(loaded, lambda db: accounts.disable(db, loaded.kafka, name, actor=user()))
    return 0


def read_password() -> str:
    """Asked for twice at a terminal, else the first line of standard input; an argument would be seen by every process.

    Raises Misconfigured if the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        msg = "users add: the two passwords differ; run the command again"
        raise Misconfigured(msg)
    return password


def _with_database(settings: Settings, work: Callable[[AsyncEngine], Awaitable[_T]]) -> _T:
    """What `work` returns, called with the console's database. Audit entries wait there for a console to send them."""

    async def run() -> _T:
        async with own_database(settings) as database:
            return await work(database)

    return asyncio.run(run())


def _print_rows(rows: Iterable[Any]) -> None:
    """Print dataclasses as JSON lines."""
    for row in rows:
        print(json.dumps(asdict(row), default=_json_value))


def _json_value(value: datetime | frozenset[str]) -> str | list[str]:
    return value.isoformat() if isinstance(value, datetime) else sorted(value)
