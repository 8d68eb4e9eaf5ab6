"""`moderation keys`, as it is given: made, listed, revoked, and what is refused."""

import json
from pathlib import Path

from tests.line.service import environment, moderation


async def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    env = environment(MODERATION_CONSOLE__DATABASE_URL=f"sqlite:///{tmp_path / 'console.db'}")
    code, key, _ = await moderation("keys", "create", "uploads", "--scope", "judge", "--scope", "read", env=env)
    assert (code, key.count("\n")) == (0, 1)
    key_id = key.split("_")[1]

    code, listed, _ = await moderation("keys", "list", env=env)
    told = json.loads(listed)
    assert (code, told["key_id"], told["name"], told["scopes"]) == (0, key_id, "uploads", ["judge", "read"])
    assert told["revoked_at"] is None
    assert key.strip() not in listed

    assert (await moderation("keys", "revoke", key_id, env=env))[0] == 0
    code, _, said = await moderation("keys", "revoke", key_id, env=env)
    assert (code, said.count("\n")) == (2, 1)
    assert "no such key in use" in said
    assert json.loads((await moderation("keys", "list", env=env))[1])["revoked_at"] is not None


async def test_a_scope_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    env = environment(MODERATION_CONSOLE__DATABASE_URL=f"sqlite:///{tmp_path / 'console.db'}")
    code, _, said = await moderation("keys", "create", "uploads", "--scope", "write", env=env)
    assert (code, said.count("\n")) == (2, 1)
    assert "judge, read, review, banks, admin, child_safety" in said
