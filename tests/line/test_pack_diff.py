"""`moderation policies diff` with the bundled model."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from moderation_service.cli.pack_diff import diff_packs
from moderation_service.contracts.post import Post
from moderation_service.demo.images import render
from moderation_service.engine.base import ScoreRequest
from moderation_service.errors import Poison
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings, shipped_policies
from tests.judging.conftest import MakeJudge, engine, make_judge, pack
from tests.judging.engines import RuleEngine
from tests.line.service import moderation
from tests.media.conftest import reaching, serve
from tests.media.test_loader import Reaching, Serve

__all__ = ["engine", "make_judge", "pack", "reaching", "serve"]  # fixtures of other rooms, used here


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    dox = Post(post_id="dox", text="She lives at 14 Mill Lane, third floor, her number is 555-0142")
    rows = [dox, Post(post_id="walk", text="Good morning")]
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows), encoding="utf-8")
    return path


async def test_each_image_is_fetched_once_for_both_packs(
    serve: Serve, reaching: Reaching, proposed: Path, tmp_path: Path
) -> None:
    fetched: Counter[str] = Counter()
    render("weapon", np.random.default_rng(1)).save(tmp_path / "weapon.png")

    async def handler(request: web.Request) -> web.Response:
        fetched[request.path] += 1
        return web.Response(body=(tmp_path / "weapon.png").read_bytes())

    port = await serve(handler)
    rows = [
        {"post_id": f"p-{number}", "text": "Look", "images": [{"url": f"http://127.0.0.1:{port}/{number}"}]}
        for number in range(3)
    ]
    posts = tmp_path / "posts.jsonl"
    posts.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    diff, left_out = await diff_packs(Settings(media=reaching(port)), shipped_policies(), proposed, posts)
    assert (diff.posts, left_out) == (3, [])
    assert fetched == {f"/{number}": 1 for number in range(3)}
    assert "abstain" not in diff.old.decisions | diff.new.decisions, "the pictures were seen by both"
    assert 0 < diff.new.tokens < diff.old.tokens
    assert all(one.furthest < 1e-4 for one in diff.policies.values()), "no policy sees another"


async def test_a_post_that_the_engine_can_not_judge_is_named_and_counted_for_neither_pack(
    make_judge: MakeJudge, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch, posts: Path
) -> None:
    @asynccontextmanager
    async def open_judges(_: Settings, *packs: PolicyPack) -> AsyncIterator[list[Judge]]:
        yield [await make_judge(pack) for pack in packs]

    def breaks(_: str, request: ScoreRequest) -> float:
        if request.text == "Good morning":
            raise Poison("engine_error", "fails on this post", stage="score")
        return 0.1

    engine.rule = breaks
    monkeypatch.setattr("moderation_service.cli.pack_diff.open_judges", open_judges)
    diff, left_out = await diff_packs(Settings(), shipped_policies(), shipped_policies(), posts)
    assert (diff.posts, left_out) == (1, ["walk: fails on this post"])


async def test_json_lists_all_that_flips_and_the_command_exits_0(proposed: Path, posts: Path) -> None:
    packs = str(shipped_policies()), str(proposed)
    code, out, _ = await moderation("policies", "diff", *packs, "--posts", str(posts), "--json")
    assert code == 0
    made = json.loads(out)
    assert made["old"]["decisions"] == {"block": 1, "allow": 1}
    assert [(flip["post_id"], flip["old"], flip["new"]) for flip in made["flips"]] == [("dox", "block", "allow")]


async def test_a_table_is_for_people_and_a_row_that_is_no_post_is_named_and_makes_it_1(
    proposed: Path, posts: Path
) -> None:
    with posts.open("a") as file:
        file.write("no post\n")
    packs = str(shipped_policies()), str(proposed)
    code, out, err = await moderation("policies", "diff", *packs, "--posts", str(posts))
    assert code == 1
    assert "1 of 2 decisions would change; policies: 7 same, 1 removed" in out
    assert "block → allow" in out
    assert f"left out: {posts}:3" in err


async def test_a_pack_that_enforces_nothing_is_refused_by_its_own_name(posts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shadows"
    folder.mkdir()
    text = (shipped_policies() / "doxxing.yaml").read_text(encoding="utf-8")
    (folder / "doxxing.yaml").write_text(text.replace("mode: enforce", "mode: shadow"), encoding="utf-8")
    code, out, err = await moderation("policies", "diff", str(shipped_policies()), str(folder), "--posts", str(posts))
    assert (code, out) == (2, "")
    assert err.strip().endswith(f"{folder}: no policy has mode enforce, so every post would be allowed")
