"""The commands on who may use the console: keys of its API, and users of its pages."""

import asyncio
import sys
from typing import Literal

from cyclopts import App

from moderation_service.cli.common import SettingsFile, extra, load

keys = App(name="keys", help="Keys of the console's HTTP API.")
users = App(name="users", help="People who may log in to the console.")


@keys.command(name="create")
def create_key(name: str, /, *, scope: list[str], settings: SettingsFile = None) -> int:
    """Make a key and print it, this once; `--scope` is judge, read, review or admin (all of them), once or more.

    Example: `moderation keys create uploads --scope judge --scope read`
    """
    print(asyncio.run(extra("keys", "console").create(load(settings), name, scope)))
    return 0


@keys.command(name="list")
def list_keys(*, settings: SettingsFile = None) -> int:
    """Print the keys, a JSON line each, without their secrets.

    Example: `moderation keys list | jq 'select(.revoked_at == null)'`
    """
    sys.stdout.writelines(f"{row}\n" for row in asyncio.run(extra("keys", "console").rows(load(settings))))
    return 0


@keys.command(name="revoke")
def revoke_key(key_id: str, /, *, settings: SettingsFile = None) -> int:
    """Refuse a key from now on.

    Example: `moderation keys revoke 3f9c0a17b2d4`
    """
    asyncio.run(extra("keys", "console").revoke(load(settings), key_id))
    return 0


@users.command(name="add")
def add_user(name: str, /, *, role: Literal["reviewer", "admin"] = "reviewer", settings: SettingsFile = None) -> int:
    """Let somebody log in to the console; the password is asked for, or the first line of standard input.

    A user who was disabled begins anew, with this password and role.

    Example: `pass show moderation/ann | moderation users add ann`
    """
    loaded, of_console = load(settings), extra("users", "console")
    asyncio.run(of_console.add(loaded, name, role, of_console.read_password()))
    return 0


@users.command(name="list")
def list_users(*, settings: SettingsFile = None) -> int:
    """Print the users, a JSON line each.

    Example: `moderation users list | jq 'select(.disabled_at == null)'`
    """
    sys.stdout.writelines(f"{row}\n" for row in asyncio.run(extra("users", "console").rows(load(settings))))
    return 0


@users.command(name="disable")
def disable_user(name: str, /, *, settings: SettingsFile = None) -> int:
    """Let somebody log in no more, and end their sessions.

    Example: `moderation users disable ann`
    """
    asyncio.run(extra("users", "console").disable(load(settings), name))
    return 0
