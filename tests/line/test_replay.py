"""`moderation replay` with the bundled model: recorded, judged again, and what differs said."""

import asyncio
import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from moderation_service.cli.judge import judge_path
from moderation_service.cli.replay import replay_verdicts
from moderation_service.contracts.post import Post
from moderation_service.demo.benchmark import benchmark
from moderation_service.engine.base import ScoreRequest
from moderation_service.errors import Poison
from moderation_service.evaluation.replay import Replayed
from moderation_service.judging.judge import Judge
from moderation_service.readers.post_files import read_posts
from moderation_service.settings import BankSettings, PolicySettings, Settings, shipped_policies
from tests.judging.conftest import MakeJudge, engine, make_judge, pack
from tests.judging.engines import RuleEngine
from tests.line.service import moderation

__all__ = ["engine", "make_judge", "pack"]  # fixtures of the judge, used here

TWO_HUNDRED = 200


def write(path: Path, rows: Iterable[str]) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def reworded(folder: Path) -> Settings:
    """The shipped policies with one word of one question changed."""
    shutil.copytree(shipped_policies(), folder)
    file = folder / "weapon_sale.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count("Does it sell a weapon?") == 1
    file.write_text(text.replace("Does it sell a weapon?", "Does it sell any weapon?"), encoding="utf-8")
    return Settings(policies=PolicySettings(path=folder))


class Said:
    """What a replay says of each verdict, and at its end."""

    def __init__(self, verdicts: Path, posts: Path, settings: Settings | None = None) -> None:
        told = list[Replayed]()
        self.summary = asyncio.run(replay_verdicts(settings or Settings(), verdicts, posts, told.append))
        self.each = {(one.recorded.verdict.post_id, one.recorded.verdict.post_revision): one for one in told}
        assert len(self.each) == len(told)

    def result(self, post_id: str, revision: int = 1) -> tuple[str, list[str]]:
        one = self.each[post_id, revision]
        return one.result, [difference.what for difference in one.differences]


def judged(posts: Path) -> Path:
    out = posts.with_name("verdicts.jsonl")
    assert asyncio.run(judge_path(Settings(), posts, out)) == 0
    return out


@pytest.mark.timeout(600)
def test_two_hundred_verdicts_are_the_same_and_after_a_one_word_change_all_name_the_policy(
    tmp_path: Path,
) -> None:
    with_image = (one.post for one in benchmark(seed=21, scale=0.05) if one.post.images)
    posts = write(tmp_path / "posts.jsonl", (post.model_dump_json() for post in islice(with_image, TWO_HUNDRED)))
    verdicts = judged(posts)

    same = Said(verdicts, posts)
    assert same.summary.line() == "200 verdicts: 200 the same"
    assert (same.summary.clean, len(same.each)) == (True, TWO_HUNDRED)

    changed = Said(verdicts, posts, reworded(tmp_path / "policies"))
    assert changed.summary.line() == "200 verdicts: 0 the same, 200 differ"
    assert not changed.summary.clean
    told = changed.summary.differences
    assert told["policies.weapon_sale.digest"] == told["policy_set_digest"] == TWO_HUNDRED
    assert told["policies.weapon_sale.raw_score"] > 0, "the word is in what the model reads"
    policies = Counter(what.split(".")[1] for what in told if what.startswith("policies."))
    assert policies.keys() == {"weapon_sale"}, "no policy sees another"


def test_what_can_not_be_replayed_is_told_row_by_row(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (112, 112), "green").save(image, "PNG")
    (tmp_path / "green.png").write_bytes(image.getvalue())
    rows = {
        "one": Post(post_id="a", text="A walk by the river"),
        "two": Post(post_id="a", revision=2, text="A walk by the lake"),
        "edited": Post(post_id="b", text="Good morning"),
        "pictured": Post.model_validate({"post_id": "c", "text": "Look", "images": [{"url": "file:green.png"}]}),
        "lost": Post(post_id="d", text="Good night"),
        "older": Post(post_id="e", text="Good night"),
    }
    posts = write(tmp_path / "posts.jsonl", (post.model_dump_json() for post in rows.values()))
    verdicts = judged(posts)
    with verdicts.open("a") as file:
        file.write('null\n{"verdict_id": "torn\n')
    (tmp_path / "green.png").unlink()
    later = {
        **rows,
        "edited": Post(post_id="b", text="Good evening"),
        "older": Post(post_id="e", revision=3, text="Good night"),
        "new": Post(post_id="f", text="Hello"),
    }
    del later["lost"]
    write(posts, [*(post.model_dump_json() for post in later.values()), "no post"])

    said = Said(verdicts, posts)
    assert said.result("a") == said.result("a", 2) == ("same", [])
    for post_id, what in (
        ("b", {"content.text_sha256"}),
        ("c", {"decision", "abstain_reason", "flags", "content.images[0].status"}),
    ):
        result, told = said.result(post_id)
        assert result == "differs"
        assert what <= set(told)
    assert said.result("d") == said.result("e") == ("no_post", [])
    assert said.each["d", 1].why == "the posts do not hold it"
    assert said.each["e", 1].why == "the posts hold revision 3 of it alone"
    assert said.summary.line() == (
        "6 verdicts: 2 the same, 2 differ, 2 without their post, 2 posts without a verdict, 1 deleted, 2 rows left out"
    )
    assert [line.split(": ")[0] for line in said.summary.left_out] == [f"{verdicts}:8", f"{posts}:7"]
    assert not said.summary.clean


async def test_a_post_that_the_engine_can_not_judge_is_told_with_the_reason(
    make_judge: MakeJudge, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @asynccontextmanager
    async def open_judge(*_: object) -> AsyncIterator[Judge]:
        yield await make_judge()

    def breaks(_: str, request: ScoreRequest) -> float:
        if request.text == "bad":
            raise Poison("engine_error", "fails on this post", stage="score")
        return 0.1

    posts = write(
        tmp_path / "posts.jsonl", [Post(post_id=name, text=name).model_dump_json() for name in ("good", "bad")]
    )
    judge = await make_judge()
    recorded = [
        (await judge.judge(post, trace_id="a" * 32)).verdict for post in read_posts(posts) if isinstance(post, Post)
    ]
    verdicts = write(tmp_path / "verdicts.jsonl", [verdict.to_json().decode() for verdict in recorded])
    engine.rule = breaks
    monkeypatch.setattr(
        sys.modules["moderation_service.cli.replay"], "open_judge", open_judge
    )  # `cli` has a command of that name
    told = list[Replayed]()
    summary = await replay_verdicts(Settings(), verdicts, posts, told.append)
    assert [(one.recorded.verdict.post_id, one.why) for one in told if one.result == "not_judged"] == [
        ("bad", "fails on this post")
    ]
    assert summary.line() == "2 verdicts: 0 the same, 1 differ, 1 not judged"
    assert not summary.clean


async def test_the_command_prints_a_line_a_verdict_and_says_the_rest_on_standard_error(tmp_path: Path) -> None:
    posts = write(tmp_path / "posts.jsonl", [Post(post_id="a", text="Good morning").model_dump_json()])
    verdicts = tmp_path / "verdicts.jsonl"
    assert await judge_path(Settings(), posts, verdicts) == 0
    code, out, err = await moderation("replay", str(verdicts), "--posts", str(posts))
    assert (code, json.loads(out)["result"]) == (0, "same")
    assert "1 verdicts: 1 the same" in err

    verdicts.write_text(verdicts.read_text().replace('"decision":"allow"', '"decision":"block"'))
    code, out, err = await moderation("replay", str(verdicts), "--posts", str(posts))
    assert code == 1
    assert json.loads(out)["differences"] == [{"what": "decision", "was": "block", "now": "allow"}]
    assert "1 verdicts: 0 the same, 1 differ" in err


def test_a_verdict_by_a_bank_is_replayed_and_a_changed_bank_is_said(tmp_path: Path) -> None:
    bank = tmp_path / "banks" / "spam.jsonl"
    bank.parent.mkdir()
    write(bank, ['{"name": "spam", "action": "block"}', '{"kind": "terms", "value": "free crypto"}'])
    settings = Settings(banks=BankSettings(path=bank.parent))
    rows = Post(post_id="a", text="Get FR3E crypt0 here"), Post(post_id="b", text="Good morning")
    posts = write(tmp_path / "posts.jsonl", (post.model_dump_json() for post in rows))
    verdicts = tmp_path / "verdicts.jsonl"
    assert asyncio.run(judge_path(settings, posts, verdicts)) == 0
    assert Said(verdicts, posts, settings).summary.line() == "2 verdicts: 2 the same"

    write(bank, ['{"name": "spam", "action": "block"}'])
    said = Said(verdicts, posts, settings)
    assert said.summary.line() == "2 verdicts: 1 the same, 1 differ, 2 recorded with other banks"
    assert {"decision", "decided_by", "matches", "verdict_id"} <= set(said.result("a")[1])


async def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    code, out, err = await moderation("replay", str(tmp_path / "none.jsonl"), "--posts", str(tmp_path))
    assert (code, out) == (2, "")
    assert err.strip().endswith("none.jsonl: no such file or folder")
