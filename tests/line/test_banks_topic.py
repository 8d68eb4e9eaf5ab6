"""Known content through the topic: two workers as processes, entries that come and go under them, and a kill."""

import asyncio
import json
import random
import signal
import time
from collections import Counter

import pytest

from moderation_service.banks.topic import BankWriter
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import BareSettings, KafkaSettings
from tests.line.service import environment, kafka_settings, rule_worker
from tests.timing import slowness

ENTRIES = 20_000
WITHIN_S = 5.0
CHANGED = "banks changed"


def post(kafka: KafkaSettings, post_id: str, text: str, partition: int) -> Record:
    value = json.dumps({"post_id": post_id, "text": text}).encode()
    return Record(kafka.input_topic, post_id.encode(), value, partition=partition)


async def verdicts(consumer: TopicConsumer, count: int) -> list[Verdict]:
    """So many verdicts more."""
    found = list[Verdict]()
    async with asyncio.timeout(60 * slowness()):
        while len(found) < count:
            found += [Verdict.model_validate_json(record.value) for record in await consumer.take(500, 0.2)]
    return found


def banks_of(found: list[Verdict]) -> set[tuple[str, ...]]:
    """Which entries the posts matched."""
    return {tuple(match.entry for match in verdict.matches) for verdict in found}


@pytest.mark.timeout(240)
async def test_an_entry_on_the_topic_blocks_on_two_workers_in_seconds_and_each_post_once_over_a_kill(
    kafka: str,
) -> None:
    topics = kafka_settings(kafka).model_copy(update={"session_timeout_s": 6.0})
    await create(topics, partitions=2, replication=1)
    writer = BankWriter(BareSettings(kafka=topics))
    rng = random.Random(5)
    entries = [BankEntry(kind="image_pdq", value=f"{rng.getrandbits(256):064x}") for _ in range(ENTRIES)]
    await writer.put_entries("spam", [*entries, BankEntry(kind="terms", value="firstword", id="first")])
    await writer.put_bank(Bank(name="spam", action=BankAction.BLOCK))
    await publish(topics, [post(topics, f"first-{part}", "a firstword", part) for part in range(2)])

    env = environment(topics)
    async with (
        rule_worker(env) as one,
        rule_worker(env) as two,
        TopicConsumer.open(topics, [topics.output_topic]) as output,
    ):
        assert banks_of(await verdicts(output, 2)) == {("first",)}  # the banks were whole before the first post
        async with asyncio.timeout(60 * slowness()):
            await asyncio.gather(*(running.logged("partition open") for running in (one, two)))

        begun = time.monotonic()
        await writer.put_entries("spam", [BankEntry(kind="terms", value="zorblax", id="late")])
        async with asyncio.timeout(WITHIN_S * slowness()):
            await asyncio.gather(*(running.logged(CHANGED) for running in (one, two)))
        took_s = time.monotonic() - begun
        await publish(topics, [post(topics, f"late-{part}", "zorblax now", part) for part in range(2)])
        assert banks_of(await verdicts(output, 2)) == {("late",)}
        assert took_s < WITHIN_S * slowness()

        sent = [post(topics, f"load-{number}", f"zorblax {number}", number % 2) for number in range(200)]
        await publish(topics, sent)
        begun_with = await verdicts(output, 1)
        one.process.send_signal(signal.SIGKILL)
        rest = await verdicts(output, len(sent) - len(begun_with))
        assert banks_of(begun_with + rest) == {("late",)}
        assert Counter(verdict.post_id for verdict in begun_with + rest) == {
            record.key.decode(): 1 for record in sent if record.key
        }

        changes = two.count(CHANGED)
        await writer.remove_entry("spam", "late")
        async with asyncio.timeout(WITHIN_S * slowness()):
            await two.logged(CHANGED, changes + 1)
        await publish(topics, [post(topics, f"gone-{part}", "zorblax again", part) for part in range(2)])
        gone = await verdicts(output, 2)
        assert (banks_of(gone), {verdict.decided_by for verdict in gone}) == ({()}, {"model"})
        assert await two.stop() == 0
