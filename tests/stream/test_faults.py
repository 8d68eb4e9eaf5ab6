"""Outages hold, they never drop: brokers killed, frozen and cut off while a worker runs."""

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from moderation_service.bench.local_kafka import Broker, free_port, missing_tools
from moderation_service.contracts.post import Post
from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.stream.proxy import proxy
from tests.stream.support import (
    FakeJudge,
    eventually,
    everything,
    kafka_settings,
    make_topics,
    post_record,
    prepared,
    published,
    running,
    send,
)
from tests.timing import slowness

pytestmark = pytest.mark.timeout(150)
NAMES = sorted(f"p{number}" for number in range(400))
PROXIED = free_port()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of our own, to break. Clients also reach it through a proxy's port, under the same name."""
    if reason := missing_tools():
        skip_or_fail(reason)
    made = Broker(tmp_path_factory.mktemp("broker"), extra={"PROXIED": PROXIED})
    made.start()
    yield made
    made.stop()


async def with_posts(broker: Broker, unique: str, session_timeout_s: float = 3.0) -> KafkaSettings:
    quick = {"request_timeout_s": 3.0, "session_timeout_s": session_timeout_s, "max_in_flight_posts": 20}
    return await prepared(broker.address, unique, NAMES, **quick)


def slowly() -> FakeJudge:
    rng = random.Random(1)

    async def wait(_: Post) -> None:
        await asyncio.sleep(rng.uniform(0, 0.1))

    return FakeJudge(before=wait)


async def test_a_broker_killed_and_started_again_loses_and_doubles_nothing(broker: Broker, unique: str) -> None:
    settings = await with_posts(broker, unique)
    async with running(settings, slowly()) as work:
        await published(settings, 60)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(2)
        assert not work.task.done()
        assert work.health.live
        await asyncio.to_thread(broker.start)
        seen = await published(settings, 400, patience_s=60)
    assert seen.judged == NAMES


async def test_a_broker_stopped_cleanly_and_started_again_loses_and_doubles_nothing(
    broker: Broker, unique: str
) -> None:
    settings = await with_posts(broker, unique)
    async with running(settings, slowly()):
        await published(settings, 60)
        for _ in range(2):
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
            await asyncio.sleep(1)
        seen = await published(settings, 400, patience_s=60)
    assert seen.judged == NAMES


@pytest.mark.parametrize("frozen_s", [1.5, 7.0])
async def test_a_frozen_broker_holds_the_partitions_until_it_thaws(
    broker: Broker, unique: str, frozen_s: float
) -> None:
    settings = await with_posts(broker, unique)
    async with running(settings, slowly()) as work:
        await published(settings, 60)
        broker.pause()
        try:
            await asyncio.sleep(frozen_s)
            assert work.health.live
            if frozen_s > settings.request_timeout_s + 2:
                assert work.health.not_ready == ["kafka"]
        finally:
            broker.resume()
        seen = await published(settings, 400, patience_s=60)
        await eventually(lambda: not work.health.not_ready, "ready again")
    assert seen.judged == NAMES


async def test_a_worker_cut_off_from_the_broker_again_and_again_loses_and_doubles_nothing(
    broker: Broker, unique: str
) -> None:
    settings = await with_posts(broker, unique)
    away = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{PROXIED}"})
    rng = random.Random(3)
    async with proxy("127.0.0.1", broker.extra_ports["PROXIED"], PROXIED) as line, running(away, slowly()):
        for round_ in range(4):
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            if round_ % 2:
                line.cut()
            else:
                line.swallow = True
            await asyncio.sleep(rng.uniform(0.2, 4.0))
            line.mend()
        line.delay_s = 0.02
        seen = await published(settings, 400, patience_s=60)
        line.delay_s = 0.0
    assert seen.judged == NAMES


async def test_stopping_while_the_broker_is_frozen_ends_within_10_seconds(broker: Broker, unique: str) -> None:
    settings = await with_posts(broker, unique)
    async with running(settings, slowly()) as work:
        await published(settings, 60)
        broker.pause()
        try:
            await asyncio.sleep(1)
            begun = time.monotonic()
            work.stop.set()
            await work.task
            assert time.monotonic() - begun < 10 * slowness()
        finally:
            broker.resume()
    async with running(settings, slowly()):
        seen = await published(settings, 400, patience_s=60)
    assert seen.judged == NAMES
    leftovers = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not leftovers


async def test_a_dead_letter_topic_that_is_missing_holds_the_partition_until_it_is_there(
    broker: Broker, unique: str
) -> None:
    settings = kafka_settings(broker.address, unique, request_timeout_s=3.0)
    missing = settings.model_copy(update={"dead_letter_topic": f"{unique}.later"})
    await make_topics(settings)
    await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(20)])
    await send(settings, [Record(settings.input_topic, b"bad", b"\x00")])
    await send(settings, [post_record(settings.input_topic, f"q{number}") for number in range(20)])
    async with running(missing, FakeJudge()) as work:
        await eventually(lambda: "kafka" in work.health.not_ready, "readiness says so")
        await make_topics(missing)
        seen = await published(missing, 41, patience_s=60)
    assert len(seen.judged) == 40
    assert [record.key for record in seen.dead] == [b"bad"]


async def test_a_stalled_loop_costs_the_membership_and_nothing_else(broker: Broker, unique: str) -> None:
    settings = await with_posts(broker, unique, session_timeout_s=2.0)
    stalled = False

    async def stall(_: Post) -> None:
        nonlocal stalled
        if not stalled:
            stalled = True
            time.sleep(5)  # noqa: ASYNC251 - the fault under test
        await asyncio.sleep(0.01)

    judge = FakeJudge(before=stall)
    async with running(settings, judge):
        await eventually(lambda: set(judge.seen) == set(NAMES), "every post was judged")  # the loop is the reader's too
        seen = await published(settings, 400, patience_s=60)
    assert seen.judged == NAMES


async def test_partitions_that_a_topic_gains_are_read_too(
    broker: Broker, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_METADATA_AGE_MS", 1000)
    settings = await with_posts(broker, unique)
    async with running(settings, slowly()):
        await published(settings, 60)
        await _grow(settings, 5)
        await send(settings, [Record(settings.input_topic, *_post(f"n{number}")) for number in range(100)])
        seen = await published(settings, 500, patience_s=60)
    assert seen.judged == sorted([*NAMES, *(f"n{number}" for number in range(100))])


def _post(name: str) -> tuple[bytes, bytes]:
    return name.encode(), b'{"post_id": "%s", "text": "new"}' % name.encode()


async def _grow(settings: KafkaSettings, partitions: int) -> None:
    from aiokafka.admin import NewPartitions  # noqa: PLC0415

    client = clients.admin(settings)
    await client.start()
    await client.create_partitions({settings.input_topic: NewPartitions(partitions)})
    await client.close()


async def test_a_corrupt_batch_holds_its_partition_alone_until_it_is_mended(broker: Broker, unique: str) -> None:
    settings = await with_posts(broker, unique)
    needle = f"garbled {unique}"
    await send(settings, [post_record(settings.input_topic, "bad", needle)])
    await send(settings, [post_record(settings.input_topic, f"q{number}") for number in range(30)])
    proxied = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{PROXIED}"})
    async with proxy("127.0.0.1", broker.extra_ports["PROXIED"], PROXIED) as line:
        line.corrupted = needle.encode()
        async with running(proxied, FakeJudge()) as work:
            await eventually(lambda: work.health.not_ready == ["unreadable partition"], "readiness says so")

            async def the_others() -> bool:
                judged = set((await everything(settings)).judged)
                assert "bad" not in judged
                return set(NAMES) < judged

            await eventually(the_others, "what precedes it, and other partitions, are judged")
            line.corrupted = b""
            seen = await published(settings, 431)
            await eventually(lambda: not work.health.not_ready, "ready again")
    assert (len(set(seen.judged)), seen.dead) == (431, [])
