"""`DELETE /v1/posts/{post_id}`: the post is gone here, and whoever reads the topics is told, once Kafka is there."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from moderation_service.bench.local_kafka import free_port
from moderation_service.console.store import posts
from moderation_service.console.store.ingest import Ingest, read_offsets
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.console.store.tables import jobs, outbox, verdicts
from moderation_service.contracts.post import Post
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import read
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit
from tests.console.api.callers import ON_SQLITE, Api, problem, running
from tests.console.api.test_posts import THREAT, post, rows
from tests.console.support import console_settings
from tests.stream.proxy import proxy
from tests.stream.support import FakeJudge, eventually, everything, kafka_settings, make_topics, post_record, send
from tests.stream.support import running as working

PATIENCE_S = 90.0


@pytest.fixture
async def topics(kafka: str, unique: str) -> KafkaSettings:
    """Topics of the test's own."""
    made = kafka_settings(kafka, unique)
    await make_topics(made)
    return made


@asynccontextmanager
async def beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What a console does besides answering."""
    tasks = [asyncio.create_task(one) for one in endless]
    try:
        yield
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def delete(api: Api, post_id: str) -> None:
    address = URL(f"{api.address}/v1/posts/{post_id}", encoded=True)
    async with api.caller() as http, http.delete(address) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
        assert "Content-Type" not in answer.headers


async def last_of(topics: KafkaSettings, topic: str, key: bytes) -> Any:
    return [record async for record in read(topics, topic) if record.key == key][-1:]


async def nulls(topics: KafkaSettings, key: bytes) -> list[Any]:
    """The last record of a post on the two topics, where that is a null."""
    ends = [await last_of(topics, topic, key) for topic in (topics.input_topic, topics.output_topic)]
    return [record for end in ends for record in end if record.value is None]


@pytest.mark.timeout(300)
async def test_a_post_put_in_and_deleted_is_gone_here_and_both_topics_end_in_a_null_of_it(
    topics: KafkaSettings, database: AsyncEngine, database_url: str, judge: Judge
) -> None:
    settings = console_settings(database_url, kafka=topics, judging_backend="local")
    async with running(database, settings, judge) as api, beside(OutboxSender(api.context).run()):
        made = await post(api, THREAT, **{"Idempotency-Key": "k-1"})
        unclear = await post(api, {"post_id": "p-1", "revision": 2, "images": [{"url": "https://127.0.0.1/gone.png"}]})
        other = await post(api, {"post_id": "p-10", "text": "hello"})
        async with database.begin() as connection:  # one more, whose verdict did not come yet
            await posts.put(connection, Post(post_id="p-1", revision=3, text="words"), None)
        assert await rows(api, jobs) > 0, "a person is to look at it"

        async def published() -> bool:
            return await rows(api, outbox) == 0

        await eventually(published, "the verdicts are on their topic", PATIENCE_S)
        await delete(api, "p-1")
        async with api.caller() as http:
            async with http.get("/v1/verdicts") as answer:
                assert (await answer.json())["verdicts"] == [other]
            for verdict in (made, unclear):
                async with http.get(f"/v1/verdicts/{verdict['verdict_id']}") as answer:
                    assert await problem(answer) == (404, "not_found")
            given = {"Idempotency-Key": "k-1"}
            async with http.post("/v1/posts", json=THREAT, headers=given) as answer:
                assert await problem(answer) == (410, "gone")
        assert await rows(api, jobs) == 0
        for revision in (1, 2, 3):
            assert await posts.shown(database, "p-1", revision) is None
        await eventually(published, "the nulls are on their topics", PATIENCE_S)
    headers = [dict(record.headers) for record in await nulls(topics, b"p-1")]
    assert [(one["ce_type"], one["ce_subject"]) for one in headers] == [(b"moderation.deletion.v1", b"p-1")] * 2
    assert len({one["ce_id"] for one in headers}) == 2
    (kept,) = await last_of(topics, topics.output_topic, b"p-10")
    assert kept.value is not None


@pytest.mark.timeout(300)
async def test_a_worker_erases_its_own_verdict_of_a_deleted_post_and_the_console_reads_that(
    topics: KafkaSettings, database: AsyncEngine, database_url: str
) -> None:
    await send(topics, [post_record(topics.input_topic, post_id) for post_id in ("p-1", "p-2")])
    settings = console_settings(database_url, kafka=topics)
    async with (
        running(database, settings) as api,
        beside(OutboxSender(api.context).run(), Ingest(api.context).run()),
        working(topics, FakeJudge()),
    ):

        async def judged() -> bool:
            return await rows(api, verdicts) == 2

        await eventually(judged, "both verdicts came", PATIENCE_S)
        await delete(api, "p-1")

        async def all_read() -> bool:  # two posts and a null, two verdicts, the console's null and the worker's
            ends = await read_offsets(database)
            return sum(end for (topic, _), end in ends.items() if topic != topics.review_topic) >= 7

        await eventually(all_read, "all that there is was read", PATIENCE_S)

        async def erased() -> bool:
            seen = await everything(topics)
            return (seen.deleted, seen.erased, seen.dead) == (["p-1"] * 2, [b"p-1"], [])

        await eventually(erased, "the worker erased its verdict and its dead letters", PATIENCE_S)
        async with database.connect() as connection:
            assert (await connection.execute(select(verdicts.c.post_id))).scalars().all() == ["p-2"]
    assert len(await nulls(topics, b"p-1")) == 2


@pytest.mark.timeout(300)
async def test_a_deletion_while_kafka_is_away_is_told_when_it_is_back(
    topics: KafkaSettings, database: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation_service.kafka.clients.BROKER_TIMEOUT_S", 1.0)
    host, port = topics.bootstrap_servers.split(":")
    async with proxy(host, int(port), free_port()) as between:
        away = topics.model_copy(update={"bootstrap_servers": f"127.0.0.1:{between.port}"})
        between.cut()
        async with running(database, console_settings(database_url, kafka=away)) as api:
            await delete(api, "p-1")
            async with beside(OutboxSender(api.context).run()):
                await eventually(lambda: bool(api.context.held), "it says that it waits")
                assert await nulls(topics, b"p-1") == []
                between.mend()

                async def told() -> bool:
                    return len(await nulls(topics, b"p-1")) == 2

                await eventually(told, "both nulls are there", PATIENCE_S)


@ON_SQLITE
@pytest.mark.parametrize("post_id", ["a/b", "/", "a b?c#d%", "帖子", "a\nb", "a\n", "\0", "\ufffd", "帖" * 512])
async def test_every_id_that_a_post_may_have_can_be_deleted_known_or_not(quiet_api: Api, post_id: str) -> None:
    async with quiet_api.context.database.begin() as connection:
        for kept in (post_id, "a", "b"):
            await posts.put(connection, Post(post_id=kept, text="words"), None)
    await delete(quiet_api, quote(post_id, safe=""))
    await delete(quiet_api, quote(post_id, safe=""))
    assert await posts.shown(quiet_api.context.database, post_id, 1) is None
    assert await posts.shown(quiet_api.context.database, "a", 1) is not None
    async with quiet_api.context.database.connect() as connection:
        query = select(outbox.c.key).where(outbox.c.topic == quiet_api.context.settings.kafka.input_topic)
        assert (await connection.execute(query)).scalars().all() == [post_id.encode()] * 2


@ON_SQLITE
async def test_a_slash_as_it_is_is_refused_as_a_proxy_may_make_another_path_of_it(quiet_api: Api) -> None:
    address = URL(f"{quiet_api.address}/v1/posts/feed/7", encoded=True)
    async with quiet_api.caller() as http, http.delete(address) as answer:
        assert await problem(answer) == (422, "wrong_fields")


@ON_SQLITE
async def test_a_deletion_is_on_record_with_its_key(quiet_api: Api) -> None:
    await delete(quiet_api, "p-1")
    async with quiet_api.context.database.connect() as connection:
        query = select(outbox.c.value).where(outbox.c.topic == quiet_api.context.settings.kafka.audit_topic)
        *_, value = (await connection.execute(query.order_by(outbox.c.number))).scalars()
    told = audit.AuditEntry.model_validate_json(value)
    assert (told.actor, told.action, told.target) == ("key:tests", "post.deleted", "p-1")
