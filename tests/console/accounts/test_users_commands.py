"""`moderation users`, as it is given: the password from standard input, and what is refused."""

import json
from pathlib import Path

import pytest

from moderation_service.cli.accounts import read_password
from moderation_service.console.accounts import users
from moderation_service.console.store.database import open_database
from moderation_service.errors import Misconfigured
from tests.console.accounts.browser import PASSWORD
from tests.line.service import environment, moderation


async def test_a_user_is_added_listed_and_disabled(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'console.db'}"
    env = environment(MODERATION_CONSOLE__DATABASE_URL=url)
    assert (await moderation("users", "add", "ann", "--role", "admin", env=env, told=PASSWORD + "\n"))[0] == 0
    code, out, _ = await moderation("users", "list", env=env)
    (row,) = (json.loads(line) for line in out.splitlines())
    assert (code, row["name"], row["role"], row["disabled_at"]) == (0, "ann", "admin", None)
    async with open_database(url) as database:
        assert await users.known(database, "ann", PASSWORD)
    code, _, said = await moderation("users", "add", "bob", env=env, told="short\n")
    assert (code, said) == (2, "moderation: users add bob: the password has 5 characters; should be 12 to 256\n")
    assert (await moderation("users", "disable", "ann", env=env))[0] == 0
    code, _, said = await moderation("users", "disable", "ann", env=env)
    assert code == 2
    assert said.startswith("moderation: users disable ann: no such user, or disabled already")
    assert json.loads((await moderation("users", "list", env=env))[1])["disabled_at"]


async def test_a_password_is_no_argument() -> None:
    code, _, said = await moderation("users", "add", "ann", PASSWORD)
    assert code == 2
    assert said.startswith("moderation: ")


def test_at_a_terminal_the_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["one password", "one password", "one password", "another"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    assert read_password() == "one password"
    with pytest.raises(Misconfigured, match="the two passwords differ"):
        read_password()
