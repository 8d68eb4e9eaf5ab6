"""The acceptance runs: `moderation run` as a process, on a real Kafka, with the bundled model."""

import asyncio
import random
import time
from contextlib import AsyncExitStack

import pytest

from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.line.service import Service, environment, kafka_settings, worker
from tests.line.traffic import REACHABLE, Found, found, traffic
from tests.timing import slowness

POSTS, POISON, DELETED = 480, 20, 4
KILLS = 3
DRAIN_S = 10.0
JUDGED = '"message": "post"'


@pytest.fixture
async def topics(kafka: str) -> KafkaSettings:
    settings = kafka_settings(kafka)
    await create(settings, partitions=4, replication=1)
    return settings


async def until_all_are_there(kafka: KafkaSettings, running: Service, wanted: int) -> Found:
    while True:
        assert running.process.returncode is None, "\n".join(running.lines[-20:])
        seen = await found(kafka)
        if sum((seen.verdicts + seen.nulls + seen.dead_letters).values()) >= wanted:
            return seen
        await asyncio.sleep(0.5)


def assert_each_once(seen: Found) -> None:
    assert seen.verdicts == {f"p-{n}".encode(): 1 for n in range(POSTS)}
    assert seen.dead_letters == {f"poison-{n}".encode(): 1 for n in range(POISON)}
    assert seen.nulls == {f"p-{n}".encode(): 1 for n in range(DELETED)}


@pytest.mark.timeout(240)
async def test_every_post_has_one_verdict_every_poison_one_dead_letter_every_deletion_one_null(
    topics: KafkaSettings,
) -> None:
    await publish(topics, traffic(topics.input_topic, seed=1))
    async with worker(environment(topics, **REACHABLE)) as running:
        seen = await until_all_are_there(topics, running, POSTS + POISON + DELETED)
        assert await running.stop() == 0
    assert_each_once(await found(topics))
    verdicts = {verdict.post_id: verdict for verdict in map(Verdict.model_validate_json, seen.verdict_values)}
    out_of_reach = [verdicts[f"p-{n}"] for n in range(10)]
    assert {image.status for verdict in out_of_reach for image in verdict.content.images} == {"refused", "unavailable"}
    assert all(verdict.decision != "allow" and "image_missing" in verdict.flags for verdict in out_of_reach)


@pytest.mark.timeout(240)
async def test_three_kills_and_two_workers_lose_nothing_and_duplicate_nothing(topics: KafkaSettings) -> None:
    rng = random.Random(7)
    records = traffic(topics.input_topic, seed=2)
    env = environment(topics, **REACHABLE, MODERATION_KAFKA__SESSION_TIMEOUT_S="6")
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(worker(env)) for _ in range(2)]
        for one in running:
            await one.logged("partition open")
        for part in range(KILLS + 1):
            await publish(topics, records[part :: KILLS + 1])
            if part == KILLS:
                break
            number = rng.randrange(2)
            victim = running[number]
            await victim.logged(JUDGED, times=victim.count(JUDGED) + rng.randint(1, 20))
            victim.process.kill()
            running[number] = await stack.enter_async_context(worker(env))
            await running[number].logged("partition open")
        await until_all_are_there(topics, running[0], POSTS + POISON + DELETED)
        assert [await one.stop() for one in running] == [0, 0]
    assert_each_once(await found(topics))


@pytest.mark.timeout(240)
async def test_sigterm_under_load_ends_in_time_with_nothing_lost_and_nothing_twice(topics: KafkaSettings) -> None:
    await publish(topics, traffic(topics.input_topic, seed=3))
    async with worker(environment(topics, **REACHABLE)) as first:
        await first.logged(JUDGED, times=30)
        begun = time.monotonic()
        assert await first.stop() == 0
        assert time.monotonic() - begun < DRAIN_S * slowness()
    async with worker(environment(topics, **REACHABLE)) as second:
        await until_all_are_there(topics, second, POSTS + POISON + DELETED)
        assert await second.stop() == 0
    assert_each_once(await found(topics))
