import io
from pathlib import Path

import pytest

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Fatal, Misconfigured, Poison, Transient
from moderation_service.evaluation.batch_judge import judge_into, judged_before
from tests.contracts.examples import verdict
from tests.judging.conftest import MakeJudge
from tests.judging.engines import RuleEngine

POSTS = [Post(post_id=f"p-{number}", text="hello") for number in range(40)]


async def test_every_post_is_judged_once_and_told_of(make_judge: MakeJudge) -> None:
    out, told = io.BytesIO(), list[str]()
    await judge_into(await make_judge(), POSTS, out, lambda done: told.append(done.post_id))
    written = [Verdict.model_validate_json(line).post_id for line in out.getvalue().splitlines()]
    assert sorted(written) == sorted(told) == sorted(post.post_id for post in POSTS)


@pytest.mark.parametrize("cut", [1, 20, 100, -1])
def test_what_is_written_is_known_later_and_a_torn_line_is_removed(tmp_path: Path, cut: int) -> None:
    out = tmp_path / "verdicts.jsonl"
    whole = verdict(post_id="a").to_json() + b"\n" + verdict(post_id="b", post_revision=7).to_json() + b"\n"
    out.write_bytes(whole + verdict(post_id="c").to_json()[:cut])
    before = judged_before(out)
    assert before.posts == {("a", 2), ("b", 7)}
    assert before.policy_sets == {verdict().policy_set_digest}
    assert out.read_bytes() == whole
    assert judged_before(tmp_path / "none.jsonl").posts == set()


@pytest.mark.parametrize("content", ["dear diary\nsecond line\n", '{"important": "config"}', "x", '{"post_id": "p"}\n'])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    out = tmp_path / "diary.txt"
    out.write_text(content)
    with pytest.raises(Misconfigured, match=r"diary.txt:1: no verdict"):
        judged_before(out)
    assert out.read_text() == content


async def test_a_transient_error_is_tried_again(make_judge: MakeJudge, engine: RuleEngine) -> None:
    failures = [Transient("engine_error", "busy")] * 2
    answer = engine.rule

    def rule(policy_id: str, request: object) -> float:
        if failures:
            raise failures.pop()
        return answer(policy_id, request)  # type: ignore[arg-type]

    engine.rule = rule
    out = io.BytesIO()
    await judge_into(await make_judge(), POSTS[:1], out)
    assert out.getvalue().count(b"\n") == 1


async def test_a_post_the_engine_can_not_judge_is_named_and_the_rest_goes_on(
    make_judge: MakeJudge, engine: RuleEngine
) -> None:
    def rule(_: str, request: object) -> float:
        if getattr(request, "text", "") == "bad":
            raise Poison("engine_error", "fails on this post", stage="score")
        return 0.1

    engine.rule = rule
    out = io.BytesIO()
    unjudged = await judge_into(await make_judge(), [*POSTS[:3], Post(post_id="bad", text="bad")], out)
    assert out.getvalue().count(b"\n") == 3
    assert unjudged == ["bad: fails on this post"]


async def test_an_error_that_stops_the_process_comes_out_as_itself(make_judge: MakeJudge, engine: RuleEngine) -> None:
    def rule(_: str, __: object) -> float:
        raise Fatal("the device is gone")

    engine.rule = rule
    with pytest.raises(Fatal, match="the device is gone"):
        await judge_into(await make_judge(), POSTS, io.BytesIO())
