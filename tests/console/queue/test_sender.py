"""The outbox on a real Kafka: each entry is on its topic exactly once, whatever happens on the way."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.backoff import Backoff
from moderation_service.bench.local_kafka import free_port
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox, reviews
from moderation_service.console.store.database import open_database
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.console.store.reviews import Decided
from moderation_service.console.store.tables import jobs
from moderation_service.contracts.review import Review
from moderation_service.kafka.topic_io import read
from moderation_service.settings import Settings
from moderation_service.telemetry import audit
from tests.console.queue.made import kept, verdict
from tests.console.queue.reviewers import Reviewer, reviewing
from tests.console.support import shipped_pack
from tests.stream.proxy import proxy
from tests.stream.support import eventually

MakeSettings = Callable[..., Awaitable[Settings]]
ALLOW = Decided("allow")
PATIENCE_S = 120.0
SOON, LATER = Backoff(0.1, 0.1), Backoff(5.0, 5.0)


def context_with(settings: Settings, database: AsyncEngine) -> ConsoleContext:
    return ConsoleContext(settings=settings, database=database, pack=shipped_pack())


@asynccontextmanager
async def sending(*several: ConsoleContext, backoff: Backoff = LATER) -> AsyncIterator[None]:
    """A sender for each; none of them may end by itself."""
    tasks = [asyncio.create_task(OutboxSender(context, backoff).run()) for context in several]
    try:
        yield
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def emptied(database: AsyncEngine) -> None:
    async def empty() -> bool:
        return await outbox.first_due(database) is None

    await eventually(empty, "the outbox is empty", PATIENCE_S)


async def on_topic(settings: Settings) -> list[Review]:
    topic = settings.kafka.review_topic
    return [Review.model_validate_json(record.value) async for record in read(settings.kafka, topic)]


async def in_rows(database: AsyncEngine) -> list[Review]:
    return [review async for review in reviews.exported(database)]


def by_id(found: list[Review]) -> list[Review]:
    return sorted(found, key=lambda review: review.review_id)


async def test_a_review_goes_out_once_it_can_not_be_undone_any_more(
    settings_on: MakeSettings, database: AsyncEngine
) -> None:
    context = context_with(await settings_on(undo_s=2), database)
    first, second = await kept(database, verdict("p-1"), verdict("p-2"))
    async with sending(context):
        review = await reviews.decide(context, "ann", first, ALLOW)
        undone = await reviews.decide(context, "ann", second, ALLOW)
        assert await reviews.undo(context, "ann", undone.review_id)
        await emptied(database)
    (record,) = [one async for one in read(context.settings.kafka, context.settings.kafka.review_topic)]
    assert Review.model_validate_json(record.value) == review
    assert record.key == b"p-1"
    headers = dict(record.headers)
    assert (headers["ce_id"], headers["ce_type"]) == (review.review_id.encode(), b"moderation.review.v1")
    assert record.timestamp >= (review.reviewed_at.timestamp() + 2) * 1000 - 1
    told = [one async for one in read(context.settings.kafka, context.settings.kafka.audit_topic)]
    assert [audit.AuditEntry.model_validate_json(one.value).action for one in told] == ["review.undone"]


@pytest.mark.parametrize("point", ["taken", "sending", "sent"])
async def test_killed_at_each_step_a_review_is_on_the_topic_once(
    settings_on: MakeSettings, database: AsyncEngine, tmp_path: Path, point: str
) -> None:
    settings = await settings_on(undo_s=0)
    await kept(database, *(verdict(f"p{number}") for number in range(30)))
    with reviewing() as started:
        started.append(Reviewer(settings, "ann", tmp_path / "killed", "send", f"kill_at={point}"))
        await eventually(lambda: not started[0].running, f"it is killed {point}", PATIENCE_S)
        started.append(Reviewer(settings, "ann", tmp_path / "next", "send"))
        await started[1].said("DONE", PATIENCE_S)
    found = await on_topic(settings)
    assert len(found) == 30
    assert by_id(found) == by_id(await in_rows(database))


async def test_killed_at_random_points_rows_and_topic_are_the_same(
    settings_on: MakeSettings, database: AsyncEngine, tmp_path: Path, unique: str
) -> None:
    settings = await settings_on(undo_s=0.1, lease_s=0.5)
    chance, made = random.Random(unique), 400
    await kept(database, *(verdict(f"p{number}") for number in range(made)))

    async def reviewed() -> int:
        return len(await in_rows(database))

    with reviewing() as started:
        for kill in range(4):
            started.append(Reviewer(settings, f"ann{kill}", tmp_path / f"{kill}", "send"))
            goal = min(await reviewed() + chance.randrange(1, 30), made)

            async def enough(goal: int = goal) -> bool:
                return await reviewed() >= goal

            await eventually(enough, f"{goal} reviews", PATIENCE_S)
            await asyncio.sleep(chance.uniform(0, 0.4))  # the point is to kill it at no known point
            started[-1].kill()
        started.append(Reviewer(settings, "bob", tmp_path / "last", "send"))
        await started[-1].said("DONE", PATIENCE_S)

        async with database.connect() as connection:
            states = (await connection.execute(select(jobs.c.state))).scalars().all()
    found = await on_topic(settings)
    assert max(Counter(review.review_id for review in found).values()) == 1
    assert by_id(found) == by_id(await in_rows(database))
    assert Counter(states) == {"decided": made}, "the last one left jobs that another's lease held"


async def test_two_consoles_on_one_database_send_each_review_once(
    settings_on: MakeSettings, database: AsyncEngine, tmp_path: Path
) -> None:
    settings = await settings_on(undo_s=0)
    await kept(database, *(verdict(f"p{number}") for number in range(100)))
    with reviewing() as started:
        started += [Reviewer(settings, name, tmp_path / name, "send") for name in ("ann", "bob")]
        for one in started:
            await one.said("DONE", PATIENCE_S)
    found = await on_topic(settings)
    assert len(found) == 100
    assert by_id(found) == by_id(await in_rows(database))


async def test_two_that_both_believe_it_is_their_turn_send_each_review_once(
    settings_on: MakeSettings, database: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "leadership", lambda *_: nullcontext())  # as after a failover of the database
    settings = await settings_on(undo_s=0)
    named = await kept(database, *(verdict(f"p{number}") for number in range(60)))
    async with open_database(database_url) as another:
        one, other = context_with(settings, database), context_with(settings, another)
        async with sending(one, other, backoff=Backoff(0.5, 0.5)):
            for number, verdict_id in enumerate(named):
                await reviews.decide(one if number % 2 else other, "ann", verdict_id, ALLOW)
            await emptied(database)
    found = await on_topic(settings)
    assert len(found) == 60
    assert by_id(found) == by_id(await in_rows(database))


async def test_while_kafka_is_away_reviews_wait_and_go_out_when_it_is_back(
    settings_on: MakeSettings, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation_service.kafka.clients.BROKER_TIMEOUT_S", 1.0)
    settings = await settings_on(undo_s=0)
    first, second = await kept(database, verdict("a"), verdict("b"))
    host, port = settings.kafka.bootstrap_servers.split(":")
    async with proxy(host, int(port), free_port()) as between:
        broker = settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{between.port}"})
        context = context_with(settings.model_copy(update={"kafka": broker}), database)
        between.cut()
        async with sending(context):
            review = await reviews.decide(context, "ann", first, ALLOW)
            await eventually(lambda: bool(context.held), "it says that it waits")
            (held,) = context.held
            assert held.startswith("outbox: ")
            assert await on_topic(settings) == []
            between.mend()
            await emptied(database)
            await eventually(lambda: not context.held, "it says that it goes on")
            another = await reviews.decide(context, "ann", second, ALLOW)
            await emptied(database)
    assert by_id(await on_topic(settings)) == by_id([review, another])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_while_the_database_is_away_the_sender_waits_for_it(
    settings_on: MakeSettings, database: AsyncEngine, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_LOOK_S", 0.1)
    context = context_with(await settings_on(undo_s=0), database)
    (named,) = await kept(database, verdict("a"))
    async with database.connect() as connection:
        name = (await connection.execute(select(func.current_database()))).scalar_one()
    server = await asyncpg.connect(f"{postgres}/postgres")
    async with sending(context, backoff=SOON):
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        await eventually(lambda: bool(context.held), "it says that it waits")
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await server.close()
        review = await reviews.decide(context, "ann", named, ALLOW)
        await emptied(database)
        await eventually(lambda: not context.held, "it says that it goes on")
    assert await on_topic(context.settings) == [review]


async def test_without_transactions_what_is_on_the_topic_is_not_sent_again(
    settings_on: MakeSettings, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await settings_on(undo_s=0)
    broker = settings.kafka.model_copy(update={"delivery": "at_least_once"})
    context = context_with(settings.model_copy(update={"kafka": broker}), database)
    (named,) = await kept(database, verdict("a"))
    drop, failed = outbox.drop, asyncio.Event()

    async def fails_once(*arguments: object) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError("the database is gone just now")
        await drop(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(outbox, "drop", fails_once)
    async with sending(context, backoff=SOON):
        review = await reviews.decide(context, "ann", named, ALLOW)
        await emptied(database)
    assert failed.is_set()
    assert await on_topic(settings) == [review]
