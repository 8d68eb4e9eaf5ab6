"""`moderation users`: let people log in to the console, show who may, and stop them."""

import getpass
import json
import sys

from moderation_service.console.accounts import users
from moderation_service.console.accounts.users import Role
from moderation_service.console.store.database import own_database
from moderation_service.errors import Misconfigured
from moderation_service.settings import Settings
from moderation_service.telemetry.audit import user


def read_password() -> str:
    """Asked for twice at a terminal, else the first line of standard input: as an argument all processes could see it.

    Raises Misconfigured where the two differ.
    """
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        msg = "users add: the two passwords differ; give it again"
        raise Misconfigured(msg)
    return password


async def add(settings: Settings, name: str, role: Role, password: str) -> None:
    """Let somebody log in. The entry for the audit waits in the database for a console to send it."""
    async with own_database(settings) as database:
        await users.add(database, settings.kafka, name, password, role=role, actor=user())


async def disable(settings: Settings, name: str) -> None:
    """Let somebody log in no more, and end their sessions."""
    async with own_database(settings) as database:
        await users.disable(database, settings.kafka, name, actor=user())


async def rows(settings: Settings) -> list[str]:
    """A JSON line a user, without the password's hash."""
    async with own_database(settings) as database:
        return [
            json.dumps(
                {
                    "name": one.name,
                    "role": one.role,
                    "created_at": one.created_at.isoformat(),
                    "disabled_at": one.disabled_at and one.disabled_at.isoformat(),
                }
            )
            for one in await users.listed(database)
        ]
