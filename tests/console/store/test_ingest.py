"""From real Kafka into both databases: each record once, whatever order the topics are read in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import posts, reviews, verdicts
from moderation_service.console.store.ingest import Ingest, OffsetConflict, read_offsets
from moderation_service.console.store.record_sorting import arrivals
from moderation_service.console.store.tables import jobs, offsets
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics
from tests.console.support import console_settings, shipped_pack
from tests.contracts.examples import verdict

PATIENCE_S = 60.0


@pytest.fixture
async def settings(kafka: str, unique: str) -> KafkaSettings:
    """Topics of the test's own."""
    kinds = ("input", "output", "dead_letter", "review", "audit")
    named = {f"{kind}_topic": f"{unique}.{kind}" for kind in kinds}
    made = KafkaSettings(bootstrap_servers=kafka, group=unique, **named)
    await create(made, partitions=3)
    return made


@pytest.fixture
def context(database: AsyncEngine, database_url: str, settings: KafkaSettings) -> ConsoleContext:
    pack = shipped_pack()
    return ConsoleContext(console_settings(database_url, kafka=settings), database, pack)


@asynccontextmanager
async def running(ingest: Ingest) -> AsyncIterator[Ingest]:
    task = asyncio.create_task(ingest.run())
    try:
        yield ingest
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and (error := task.exception()):
            raise error


async def until(ingest: Ingest, true: Callable[[], Any]) -> None:
    """Wait until what `true` awaits holds, looking after each transaction."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():
            ingest.wrote.clear()
            await ingest.wrote.wait()


async def publish_all(settings: KafkaSettings, *given: Post | Verdict | Review | tuple[str, str]) -> None:
    """Posts, verdicts and reviews to their topics; a pair of topic and post id deletes."""
    records = []
    for one in given:
        if isinstance(one, tuple):
            records.append(Record(one[0], one[1].encode(), None))
            continue
        topic = {Post: settings.input_topic, Verdict: settings.output_topic, Review: settings.review_topic}[type(one)]
        records.append(Record(topic, one.post_id.encode(), one.model_dump_json(by_alias=True).encode()))
    await publish(settings, records)


async def stored(database: AsyncEngine) -> dict[str, bytes]:
    """All verdicts that are kept, as they are published."""
    found = await verdicts.listed(database, limit=100_000)
    return {one.verdict.verdict_id: one.verdict.to_json() for one in found}


async def on_topic(settings: KafkaSettings) -> dict[str, bytes]:
    return {
        Verdict.model_validate_json(record.value).verdict_id: record.value
        async for record in read(settings, settings.output_topic)
    }


def made(number: int, decision: str = "review") -> Verdict:
    return verdict(verdict_id=f"v{number:05}", post_id=f"p{number}", decision=decision)


def review_of(one: Verdict) -> Review:
    fields = {"review_id": f"r-{one.verdict_id}", "verdict_id": one.verdict_id, "post_id": one.post_id}
    rest = {"post_revision": one.post_revision, "decision": "allow", "reviewer": "ann", "reviewed_at": one.judged_at}
    return Review(**fields, **rest)


async def test_rows_equal_the_topics_and_the_offsets_are_with_them(
    context: ConsoleContext, settings: KafkaSettings
) -> None:
    given = [made(number, ("review", "allow", "block")[number % 3]) for number in range(200)]
    words = [Post(post_id=one.post_id, revision=one.post_revision, text=f"words {one.post_id}") for one in given]
    await publish_all(settings, *words, *given, *map(review_of, given[:6]))
    database = context.database
    async with running(Ingest(context)) as ingest:

        async def all_there() -> bool:
            return sum((await read_offsets(context.database)).values()) >= 406

        await until(ingest, all_there)
    assert await stored(database) == await on_topic(settings)
    assert len(await stored(database)) == 200
    async with database.connect() as connection:
        kept = set((await connection.execute(select(posts.posts.c.post_id))).scalars())
        states = dict((await connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))).all())
    assert kept == {one.post_id for one in given if one.decision != "allow"}
    assert states == {"open": 65, "decided": 2}
    assert [one.review_id for one in await reviews.of_verdict(database, "v00000")] == ["r-v00000"]


async def test_reading_goes_on_where_it_was_and_takes_nothing_twice(
    context: ConsoleContext, settings: KafkaSettings
) -> None:
    async def there() -> set[str]:
        return {one.verdict.verdict_id for one in await verdicts.listed(context.database, limit=10)}

    async def first() -> bool:
        return "v00001" in await there()

    async def second() -> bool:
        return "v00002" in await there()

    await publish_all(settings, made(1))
    async with running(Ingest(context)) as ingest:
        await until(ingest, first)
    known = metrics.CONSOLE_RECORDS.labels("verdict", "known")._value.get()
    await publish_all(settings, made(2))
    async with running(Ingest(context)) as ingest:
        await until(ingest, second)
    assert metrics.CONSOLE_RECORDS.labels("verdict", "known")._value.get() == known
    assert await there() == {"v00001", "v00002"}


async def test_what_is_no_record_of_ours_is_counted_and_stops_nothing(
    context: ConsoleContext, settings: KafkaSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "the words of a post"
    none = [
        Record(settings.output_topic, b"k", secret.encode()),
        Record(settings.output_topic, b"k", b'{"verdict_id": "x", "metadata": "' + secret.encode() + b'"}'),
        Record(settings.output_topic, b"k", verdict(verdict_id="far", post_revision=2**70).to_json()),
        Record(settings.output_topic, b"k", verdict(verdict_id="n").to_json().replace(b'"form"', b'"\\ud800"')),
        Record(settings.output_topic, b"\xff", None),
        Record(settings.input_topic, b"k", b'{"post_id": "k"}'),
        Record(settings.review_topic, b"k", None),
        Record(settings.review_topic, b"k", b"{}"),
    ]
    odd = verdict(verdict_id="odd", metadata={"words": "\0 and \x1b"}, surface="\0")
    infinite = verdict(verdict_id="inf", post_id="q").to_json().replace(b'"form"', b"NaN")
    refused = sum(
        metrics.CONSOLE_RECORDS.labels(kind, "refused")._value.get() for kind in ("verdict", "post", "review")
    )
    await publish(settings, [*none, Record(settings.output_topic, b"q", infinite)])
    await publish_all(settings, odd)

    async def all_there() -> bool:
        return sum((await read_offsets(context.database)).values()) >= len(none) + 2

    async with running(Ingest(context)) as ingest:
        await until(ingest, all_there)
    counted = sum(
        metrics.CONSOLE_RECORDS.labels(kind, "refused")._value.get() for kind in ("verdict", "post", "review")
    )
    assert counted - refused == len(none)
    assert set(await stored(context.database)) == {"odd", "inf"}
    told = capfd.readouterr()
    assert settings.output_topic in told.out + told.err
    assert secret not in told.out + told.err


async def test_deletions_erase_and_what_came_after_them_stays(context: ConsoleContext, settings: KafkaSettings) -> None:
    gone, again, alone = made(1), made(2), made(3)
    later = again.model_copy(update={"verdict_id": "v-later", "post_revision": 3})
    words = [Post(post_id=one.post_id, revision=one.post_revision, text="words") for one in (gone, again, alone)]
    anew = words[1].model_copy(update={"revision": 3})
    deleted = [(settings.input_topic, gone.post_id), (settings.output_topic, gone.post_id)]
    deleted += [(settings.input_topic, f'\0\0\0\0\x11"{again.post_id}"'), (settings.output_topic, again.post_id)]
    await publish_all(settings, *words, gone, again, alone, review_of(gone), *deleted, anew, later)

    async def all_there() -> bool:
        return sum((await read_offsets(context.database)).values()) >= 13

    async with running(Ingest(context)) as ingest:
        await until(ingest, all_there)
        assert set(await stored(context.database)) == {"v-later", "v00003"}
        async with context.database.connect() as connection:
            kept = await connection.execute(select(posts.posts.c.post_id, posts.posts.c.revision))
            assert set(map(tuple, kept)) == {("p2", 3), ("p3", 2)}


async def test_the_topics_may_be_read_in_any_order(context: ConsoleContext, settings: KafkaSettings) -> None:
    """A verdict of a post made anew is not erased by the deletion that its post's topic still has to tell."""
    old, new = made(1), made(1).model_copy(update={"verdict_id": "v-new", "post_revision": 3})
    await publish_all(settings, old, (settings.output_topic, "p1"), new)
    await publish_all(settings, Post(post_id="p1", revision=2, text="old"), (settings.input_topic, "p1"))
    await publish_all(settings, Post(post_id="p1", revision=3, text="new"))
    by_topic: dict[str, list[Any]] = {
        topic: [record async for record in read(settings, topic)]
        for topic in (settings.output_topic, settings.input_topic)
    }
    for record in [*by_topic[settings.output_topic], *by_topic[settings.input_topic]]:
        ingest = Ingest(context)
        ingest._ends = await read_offsets(context.database)
        await ingest.write([record])
    assert set(await stored(context.database)) == {"v-new"}
    shown = await posts.shown(context.database, "p1", 3)
    assert shown is not None
    assert await posts.shown(context.database, "p1", 2) is None


async def test_one_who_reads_where_another_read_already_writes_nothing(
    context: ConsoleContext, settings: KafkaSettings
) -> None:
    await publish_all(settings, made(1))
    (record,) = [record async for record in read(settings, settings.output_topic)]
    first, late = Ingest(context), Ingest(context)
    await first.write([record])
    with pytest.raises(OffsetConflict):
        await late.write([record])
    async with context.database.connect() as connection:
        assert (await connection.execute(select(offsets.c.next_offset))).scalar_one() == record.offset + 1


async def test_a_row_that_the_database_refuses_is_left_out_alone(
    context: ConsoleContext, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract keeps such values out; should one get by it, it stops nothing."""
    monkeypatch.setattr("moderation_service.console.store.record_sorting._NUMBERS", range(-(2**80), 2**80))
    await publish_all(settings, made(1), verdict(verdict_id="far", post_id="p1", post_revision=2**70), made(2))
    records = [record async for record in read(settings, settings.output_topic)]
    await Ingest(context).write(records)
    assert set(await stored(context.database)) == {"v00001", "v00002"}


async def test_two_consoles_on_one_database_read_in_turn(context: ConsoleContext, settings: KafkaSettings) -> None:
    async def there(wanted: str) -> bool:
        return wanted in await stored(context.database)

    async with running(Ingest(context)) as first:
        await publish_all(settings, made(1))
        await until(first, lambda: there("v00001"))
        async with running(Ingest(context)) as second:
            await publish_all(settings, made(2))
            await until(first, lambda: there("v00002"))
            assert not second.wrote.is_set()
    async with running(second):
        await publish_all(settings, made(3))
        await until(second, lambda: there("v00003"))


def test_posts_of_every_input_topic_are_kept_and_deleted() -> None:
    kafka = KafkaSettings(priority_topics=("urgent",))
    value = Post(post_id="p-1", text="hello").model_dump_json().encode()
    posts_of = [consumed(topic, value) for topic in kafka.input_topics]
    found = arrivals([*posts_of, consumed("urgent", None)], kafka)
    assert (found.posts, found.deleted_posts, found.refused) == ([], {"p-1"}, [])
    assert len(arrivals(posts_of, kafka).posts) == 2


def consumed(topic: str, value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, 1, 0, 0, b"p-1", value, None, 3, len(value or b""), ())
