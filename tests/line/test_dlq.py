"""Dead letters: listed, filtered, redriven once; on a real Kafka."""

import asyncio
import json

import pytest

from moderation_service.cli.dlq import REDRIVES, LetterFilter, letters, redrive
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Poison
from moderation_service.kafka.topic_io import Record, transactions
from moderation_service.settings import KafkaSettings
from tests.line.service import environment, moderation
from tests.stream.support import (
    FakeJudge,
    everything,
    kafka_settings,
    make_topics,
    post_record,
    prepared,
    published,
    running,
    send,
)

pytestmark = pytest.mark.timeout(90)
ALL = LetterFilter()


async def refused(_: Post) -> None:
    raise Poison("engine_error", "the engine refuses it", stage="score")


async def with_letters(kafka: str, unique: str, posts: int = 3) -> KafkaSettings:
    """Posts that an engine refused, and one record that is no JSON."""
    settings = await prepared(kafka, unique, posts)
    await send(settings, [Record(settings.input_topic, b"bad", b"the words of a post", [("mine", b"kept")])])
    async with running(settings, FakeJudge(before=refused)):
        await published(settings, posts + 1)
    return settings


async def listed(settings: KafkaSettings, chosen: LetterFilter = ALL) -> list[dict[str, object]]:
    return [letter.row() for letter in await letters(settings, chosen)]


async def test_they_are_listed_with_their_reason_and_filtered_and_no_word_of_a_post_is_shown(
    kafka: str, unique: str
) -> None:
    settings = await with_letters(kafka, unique)
    rows = await listed(settings)
    assert sorted((row["key"], row["reason"]) for row in rows) == [
        ("bad", "not_json"),
        *((f"p{number}", "engine_error") for number in range(3)),
    ]
    assert all(row["topic"] == settings.input_topic and not row["redriven"] for row in rows)
    assert "the words of a post" not in json.dumps(rows)
    assert {row["key"] for row in await listed(settings, LetterFilter(reason="engine_error"))} == {
        "p0",
        "p1",
        "p2",
    }
    assert [row["key"] for row in await listed(settings, LetterFilter(stage="score", key="p1"))] == ["p1"]
    assert not await listed(settings, LetterFilter(reason="engine_error", key="bad"))


async def test_each_is_driven_in_once_and_keeps_its_bytes_and_headers_and_a_count(
    kafka: str, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = await with_letters(kafka, unique)
    assert await redrive(settings, ALL, 1) == 0
    assert await redrive(settings, ALL, 1) == 0
    assert "0 of 0 dead letters" in capsys.readouterr().err.splitlines()[-1]
    async with running(settings, FakeJudge()):
        seen = await published(settings, 2 * 4 + 4)  # the letters, their markers, three verdicts, and one letter more
    assert seen.judged == ["p0", "p1", "p2"]
    again = [row for row in await listed(settings) if not row["redriven"]]
    assert [(row["key"], row["redrives"]) for row in again] == [("bad", 1)]
    last = [record for record in seen.dead if record.key == b"bad" and dict(record.headers).get(REDRIVES) == b"1"]
    assert [(record.value, record.headers[0]) for record in last] == [(b"the words of a post", ("mine", b"kept"))]


async def test_records_are_driven_in_no_faster_than_asked(kafka: str, unique: str) -> None:
    settings = await with_letters(kafka, unique)
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    assert await redrive(settings, ALL, 1, rate=0.001, pause=pause) == 0
    assert [round(seconds, -2) for seconds in waited] == [1000, 2000, 3000, 4000]


async def test_what_was_driven_in_before_and_failed_again_is_left_out_unless_more_is_allowed(
    kafka: str, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = await with_letters(kafka, unique, posts=0)
    bad = LetterFilter(key="bad")
    assert await redrive(settings, bad, 1) == 0
    async with running(settings, FakeJudge()):
        await published(settings, 3)
    capsys.readouterr()
    assert await redrive(settings, bad, 1) == 1
    assert "0 of 1 dead letters redriven; left out: 1 redriven 1 times before" in capsys.readouterr().err
    assert await redrive(settings, bad, 2) == 0
    async with running(settings, FakeJudge()):
        await published(settings, 5)
    (row,) = (row for row in await listed(settings, bad) if not row["redriven"])
    assert row["redrives"] == 2


async def test_a_deleted_posts_letters_are_neither_listed_nor_driven_in(kafka: str, unique: str) -> None:
    settings = await with_letters(kafka, unique)
    await send(settings, [Record(settings.input_topic, b"p1", None)])
    async with running(settings, FakeJudge()):
        await published(settings, 5)
    assert {row["key"] for row in await listed(settings)} == {"bad", "p0", "p2"}
    await redrive(settings, LetterFilter(reason="engine_error"), 1)
    async with running(settings, FakeJudge()):
        seen = await published(settings, 5 + 2 + 2)
    assert seen.judged == ["p0", "p2"]


async def test_one_that_is_by_reference_is_left_out_and_named(
    kafka: str, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = kafka_settings(kafka, unique, max_message_bytes=64 * 1024)
    await make_topics(settings)
    roomy = settings.model_copy(update={"max_message_bytes": 2**20})
    await send(roomy, [Record(settings.input_topic, b"bomb", b"\x00" * 200_000)])  # small on the wire
    async with running(settings, FakeJudge()):
        await published(settings, 1)
    assert await redrive(settings, ALL, 1) == 1
    assert "left out: 1 by reference" in capsys.readouterr().err


async def test_of_two_at_a_time_the_later_wins_and_none_is_driven_in_twice(kafka: str, unique: str) -> None:
    settings = await with_letters(kafka, unique)
    name = f"{settings.group}.dlq.redrive"
    async with transactions(settings, name) as write:
        assert await redrive(settings, ALL, 1) == 0
        with pytest.raises(Fatal, match="was started elsewhere"):
            await write([post_record(settings.input_topic, "p0")])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 12)
    assert seen.judged == ["p0", "p1", "p2"]


async def test_what_a_failing_broker_cuts_off_is_wholly_there_or_not_at_all(kafka: str, unique: str) -> None:
    settings = await with_letters(kafka, unique, posts=0)
    before = (await everything(settings)).total
    unwritable = settings.model_copy(update={"input_topic": f"{unique}.missing", "request_timeout_s": 2.0})
    with pytest.raises(Fatal, match="records were not written"):
        await asyncio.wait_for(redrive(unwritable, ALL, 1), 60)
    assert (await everything(settings)).total == before, "no marker without its record"
    assert await redrive(settings, ALL, 1) == 0


async def test_the_commands_list_and_drive_in_and_exit_with_1_where_some_are_left_out(kafka: str, unique: str) -> None:
    settings = await with_letters(kafka, unique)
    env = environment(settings)
    code, out, _ = await moderation("dlq", "list", "--reason", "not_json", env=env)
    assert (code, [json.loads(line)["key"] for line in out.splitlines()]) == (0, ["bad"])
    code, out, err = await moderation("dlq", "redrive", "--key", "p1", env=env)
    assert (code, out) == (0, "")
    assert "1 of 1 dead letters redriven" in err
    code, _, err = await moderation("dlq", "redrive", "--most", "0", env=env)
    assert code == 1
    assert "0 of 3 dead letters redriven; left out: 3 redriven 0 times before" in err
    code, _, err = await moderation("dlq", "list", "--bootstrap-servers", "127.0.0.1:1", env=env)
    assert code == 3
    assert "no broker answers" in err
