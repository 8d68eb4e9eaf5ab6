"""`moderation rejudge` on Kafka, with the bundled model."""

import json
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moderation_service.cli.rejudge import decision_of, since_of
from moderation_service.contracts.enums import Trigger
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_io import Record, post_record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings, shipped_policies
from moderation_service.stream.rejudge_plan import RejudgePlan
from tests.line.service import Service, environment, kafka_settings, moderation, started, worker
from tests.line.traffic import found
from tests.stream.support import eventually

DOX = "She lives at 14 Mill Lane, third floor, her number is 555-0142"
POSTS = [Post(post_id=f"p{n:03}", text=f"{DOX}, {n}" if n % 3 == 0 else f"Good morning number {n}") for n in range(90)]


MARKED = {post.post_id for post in POSTS if post.text.startswith(DOX)} - {"p000", "p003"}


@pytest.fixture
async def judged(kafka: str) -> KafkaSettings:
    """Topics on which a worker has judged the posts; one is edited, one deleted, one is no post."""
    settings = kafka_settings(kafka)
    await create(settings, partitions=3)
    edited = Post(post_id="p000", revision=2, text="Good morning")
    records = [post_record(settings, post) for post in (*POSTS, edited)]
    records += [Record(settings.input_topic, b"p003", None), Record(settings.input_topic, b"x", b"{")]
    await publish(settings, records)
    async with worker(environment(settings)) as running:

        async def all_there() -> bool:
            seen = await found(settings)
            return sum((seen.verdicts + seen.nulls + seen.dead_letters).values()) >= len(records)

        await eventually(all_there, "verdicts", 90)
        assert await running.stop() == 0
    return settings


def arguments(proposed: Path, folder: Path, *more: str) -> tuple[str, ...]:
    return ("rejudge", "--since", "1h", "--policies", str(proposed), "-o", str(folder), "--json", *more)


async def rejudged(settings: KafkaSettings) -> list[Verdict]:
    verdicts = [Verdict.model_validate_json(value) for value in (await found(settings)).verdict_values]
    return [verdict for verdict in verdicts if verdict.trigger is Trigger.REJUDGE]


async def allowed_posts(settings: KafkaSettings) -> int:
    """How many posts' last verdict allows."""
    last = {}
    for value in (await found(settings)).verdict_values:
        verdict = Verdict.model_validate_json(value)
        if verdict.post_id != "p003":
            last[verdict.post_id] = verdict.decision
    return list(last.values()).count("allow")


@pytest.mark.timeout(300)
async def test_each_post_is_judged_once_over_a_kill_and_what_changed_is_published(
    judged: KafkaSettings, proposed: Path, tmp_path: Path
) -> None:
    before, folder = await found(judged), tmp_path / "rejudged"
    command = arguments(proposed, folder, "--publish", "changed")
    env = environment(judged)
    async with started(Service, (*command, "--rate", "40"), env) as first:

        async def half_done() -> bool:
            if not (folder / "plan.db").exists():
                return False
            with closing(RejudgePlan(folder / "plan.db")) as plan:
                return plan.is_complete and plan.count()[1] > 20

        await eventually(half_done, "some posts", 90)
        first.process.kill()
    with closing(RejudgePlan(folder / "plan.db")) as plan:
        late = next(row.post_id for row in plan.rows() if not row.new and row.post_id in MARKED)
    await publish(judged, [Record(judged.input_topic, late.encode(), None)])
    code, out, err = await moderation(*command, env=env)
    assert code == 0, err
    report = json.loads(out)

    left = [post for post in POSTS if post.post_id not in {"p000", "p003", late}]
    assert (report["posts"], report["unrecorded"], report["not_judged"]) == (len(left) + 1, 0, {})
    (tmp_path / "posts.jsonl").write_text("".join(f"{post.model_dump_json()}\n" for post in left))
    posts = ("--posts", str(tmp_path / "posts.jsonl"), "--json")
    _, diff, _ = await moderation("policies", "diff", str(shipped_policies()), str(proposed), *posts, env=environment())
    flips = {flip["post_id"]: flip["policies"] for flip in json.loads(diff)["flips"]}
    assert {flip["post_id"]: flip["policies"] for flip in report["flips"]} == flips
    assert len(flips) > 20

    published = await rejudged(judged)
    assert Counter(verdict.post_id for verdict in published) == dict.fromkeys(flips, 1)
    after = await found(judged)
    assert (after.dead_letters, after.nulls) == (before.dead_letters, before.nulls)
    assert len(after.verdict_values) == len(before.verdict_values) + len(flips)

    code, out, err = await moderation(*arguments(proposed, tmp_path / "some", "--where", "decision=allow"), env=env)
    some = json.loads(out)
    allowed = await allowed_posts(judged)
    assert (code, some["posts"], some["old"]["decisions"]) == (0, allowed, {"allow": allowed})
    assert allowed > len(flips)
    assert Counter((await found(judged)).verdict_values) == Counter(after.verdict_values)
    code, _, err = await moderation(*arguments(proposed, tmp_path / "some"), env=env)
    assert (code, "is of a rejudge with other decision" in err) == (2, True)


def test_since_is_a_span_or_a_moment() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    assert since_of("30d", now) == now - timedelta(days=30)
    assert since_of("2026-04-01", now) == datetime(2026, 4, 1, tzinfo=UTC)
    assert since_of("2026-04-01T02:00+02:00", now) == datetime(2026, 4, 1, tzinfo=UTC)
    with pytest.raises(Misconfigured, match="--since yesterday: should be such as 30d"):
        since_of("yesterday", now)
    assert decision_of("decision=allow") == "allow"
    with pytest.raises(Misconfigured, match="--where score=1: should be decision=, and one of"):
        decision_of("score=1")


def recorded(place: int, key: str, value: bytes | None) -> Any:
    return SimpleNamespace(topic="posts", partition=0, offset=place, key=key.encode(), value=value)


def test_a_plan_has_the_newest_of_each_post_and_forgets_what_is_not_committed(tmp_path: Path) -> None:
    with closing(RejudgePlan(tmp_path / "plan.db")) as plan:
        plan.begin({("posts", 0): 0}, {("posts", 0): 6})
        posts = [Post(post_id="a", text="x"), Post(post_id="b", text="x"), Post(post_id="a", revision=2, text="y")]
        plan.add_posts(recorded(at, one.post_id, one.model_dump_json().encode()) for at, one in enumerate(posts))
        plan.add_posts(
            [recorded(3, "c", b"{"), recorded(4, "d", b'{"post_id": "d", "text": "z"}'), recorded(5, "d", None)]
        )
        plan.add_verdicts([recorded(0, "a", b"no verdict"), recorded(1, "b", None)])
        plan.complete("{}", None)
        assert [(row.post_id, row.revision, row.old) for row in plan.rows()] == [("a", 2, None), ("b", 1, None)]
        plan.fail("a", "a reason")
        plan.fail("b", "a reason")
        plan.forget({("posts", 0): 2})
        assert [row.failure for row in plan.rows()] == [None, "a reason"]
        plan.overtake(recorded(6, "a", Post(post_id="a", revision=3, text="z").model_dump_json().encode()))
        plan.overtake(recorded(7, "b", None))
        assert [row.post_id for row in plan.rows()] == ["b"]


def test_a_file_of_another_kind_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.db").write_bytes(b"something else" * 100)
    with pytest.raises(Misconfigured, match="is no plan of a rejudge"):
        RejudgePlan(tmp_path / "plan.db")
