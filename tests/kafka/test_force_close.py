import asyncio
import time
from pathlib import Path

import pytest

from moderation_service.bench.local_kafka import Broker, missing_tools
from moderation_service.kafka import clients
from moderation_service.kafka.aiokafka_workarounds import force_close
from tests.conftest import skip_or_fail
from tests.stream.support import kafka_settings, make_topics
from tests.timing import slowness

pytestmark = pytest.mark.timeout(60)


def others() -> set["asyncio.Task[object]"]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.mark.parametrize("how", ["pause", "kill"])
async def test_clients_of_a_broker_that_went_away_close_in_bounded_time_and_leave_no_task(
    tmp_path: Path, how: str
) -> None:
    if reason := missing_tools():
        skip_or_fail(reason)
    broker = Broker(tmp_path).start()
    try:
        settings = kafka_settings(broker.address, "g")
        await make_topics(settings)
        producer = clients.producer(settings, "id")
        consumer = clients.consumer(settings, settings.input_topic, group="g")
        await producer.start()
        await consumer.start()
        await producer.begin_transaction()
        getattr(broker, how)()
        sent = await producer.send(settings.output_topic, b"v", b"k")
        committing = asyncio.create_task(producer.commit_transaction())
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        assert not await force_close(producer, 0.5)
        await force_close(consumer, 0.5)
        assert time.monotonic() - begun < 3 * slowness()
        committing.cancel()
        await asyncio.wait({committing})
        assert not others()
        sent.cancel()
    finally:
        broker.kill()


async def test_a_client_that_was_never_started_closes(kafka: str) -> None:
    settings = kafka_settings(kafka, "g")
    assert await force_close(clients.producer(settings), 1)
    assert await force_close(clients.consumer(settings), 1)


async def test_many_producers_that_close_together_look_at_all_tasks_but_once(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, looks, all_tasks = kafka_settings(kafka, "g"), 0, asyncio.all_tasks

    def looked(loop: asyncio.AbstractEventLoop | None = None) -> set["asyncio.Task[object]"]:
        nonlocal looks
        looks += 1
        return all_tasks(loop)

    producers = [clients.producer(settings) for _ in range(20)]
    await asyncio.gather(*(producer.start() for producer in producers))
    monkeypatch.setattr(asyncio, "all_tasks", looked)
    assert all(await asyncio.gather(*(force_close(producer, 5) for producer in producers)))
    assert looks == 0, "a producer that stops well leaves nothing behind"
    never_started = [clients.producer(settings) for _ in range(20)]
    await asyncio.gather(*(force_close(producer, 5) for producer in never_started))
    assert looks <= 2
    monkeypatch.undo()
    assert not others()
