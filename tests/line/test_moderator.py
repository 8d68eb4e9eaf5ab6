"""The library: `Moderator` in a script."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from moderation_service import Moderator
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.post import Post
from moderation_service.demo.images import render
from moderation_service.errors import Misconfigured, Poison
from tests.line.service import environment, moderation

WORDS = "Lightly used, DM me for the price"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    render("weapon", np.random.default_rng(3)).save(tmp_path / "pistol.png")
    return tmp_path


@pytest.fixture
async def moderator(photos: Path) -> AsyncIterator[Moderator]:
    async with Moderator.from_settings(files=photos, engine={"device": "cpu"}) as moderator:
        yield moderator


async def test_a_post_gets_the_verdict_that_the_command_gives(moderator: Moderator, photos: Path) -> None:
    (photos / "pistol.txt").write_text(WORDS)
    code, out, _ = await moderation("judge", str(photos), env=environment())
    assert code == 0
    verdict = await moderator.judge({"post_id": "pistol", "text": WORDS, "images": [{"url": "file:pistol.png"}]})
    assert verdict.decision is Decision.BLOCK
    assert f'"verdict_id":"{verdict.verdict_id}"' in out


async def test_a_post_may_be_one_of_the_contracts(moderator: Moderator) -> None:
    assert (await moderator.judge(Post(post_id="p-1", text="A walk by the lake"))).decision is Decision.ALLOW


async def test_what_is_no_post_names_the_fault(moderator: Moderator) -> None:
    with pytest.raises(Poison, match="post: one of text and images is required"):
        await moderator.judge({"post_id": "p-1"})


async def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"engine\.modle"):
        async with Moderator.from_settings(engine={"modle": "x"}):
            pass


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, moderation_service; print({'torch', 'pydantic', 'aiokafka'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
