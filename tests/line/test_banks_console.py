"""Known content by people: an image that is added through the console's API stops its near copies on two workers."""

import asyncio
import base64
import json
import time
from io import BytesIO
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from PIL import Image

from moderation_service.app.console import follow_banks
from moderation_service.banks.topic import BankWriter
from moderation_service.console.accounts import api_keys
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import verdicts as stored
from moderation_service.console.store.database import open_database
from moderation_service.console.store.ingest import Ingest
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.contracts.bank import Bank, BankAction
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import BareSettings, KafkaSettings
from tests.console.support import console_settings, served, shipped_pack
from tests.line.service import environment, kafka_settings, rule_worker
from tests.timing import slowness

WITHIN_S = 5.0
PIXELS = np.random.default_rng(3).integers(0, 255, (12, 12, 3), np.uint8)


def post(kafka: KafkaSettings, post_id: str, partition: int, *, side: int, quality: int) -> Record:
    """The same picture in another size and quality."""
    out = BytesIO()
    Image.fromarray(PIXELS).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality)
    image = {"data": base64.b64encode(out.getvalue()).decode(), "media_type": "image/jpeg"}
    value = json.dumps({"post_id": post_id, "text": "look", "images": [image]}).encode()
    return Record(kafka.input_topic, post_id.encode(), value, partition=partition)


async def judged(consumer: TopicConsumer, count: int) -> list[Verdict]:
    found = list[Verdict]()
    async with asyncio.timeout(60 * slowness()):
        while len(found) < count:
            found += [Verdict.model_validate_json(record.value) for record in await consumer.take(500, 0.1)]
    return found


async def copies(kafka: KafkaSettings, output: TopicConsumer, name: str) -> set[tuple[str, ...]]:
    """What copies of the picture match, one on each worker."""
    await publish(kafka, [post(kafka, f"{name}-{part}", part, side=300 + 40 * part, quality=60) for part in range(2)])
    return {tuple(match.bank for match in verdict.matches) for verdict in await judged(output, 2)}


async def until(expected: set[tuple[str, ...]], kafka: KafkaSettings, output: TopicConsumer, name: str) -> float:
    """Seconds until copies on both workers match so."""
    begun = time.monotonic()
    async with asyncio.timeout(60 * slowness()):
        while await copies(kafka, output, f"{name}-{time.monotonic_ns()}") != expected:
            pass  # each look takes as long as two posts do
    return time.monotonic() - begun


@pytest.mark.timeout(240)
async def test_an_image_added_in_the_console_stops_its_copies_on_two_workers_until_it_is_removed(
    kafka: str, tmp_path: Path
) -> None:
    topics = kafka_settings(kafka).model_copy(update={"session_timeout_s": 6.0})
    await create(topics, partitions=2, replication=1)
    await BankWriter(BareSettings(kafka=topics)).put_bank(Bank(name="spam", action=BankAction.BLOCK))
    env, url = environment(topics), f"sqlite:///{tmp_path / 'console.db'}"
    async with (
        rule_worker(env) as one,
        rule_worker(env) as two,
        open_database(url) as database,
        TopicConsumer.open(topics, [topics.output_topic]) as output,
    ):
        async with asyncio.timeout(60 * slowness()):
            await asyncio.gather(*(running.logged("partition open") for running in (one, two)))
        context = ConsoleContext(console_settings(url, kafka=topics), database, shipped_pack())
        parts = (Ingest(context).run, OutboxSender(context).run, lambda: follow_banks(context))
        tasks = [asyncio.create_task(part()) for part in parts]
        assert await copies(topics, output, "before") == {()}
        async with asyncio.timeout(60 * slowness()):
            while True:
                found = await stored.listed(database, limit=1)
                if found and not context.banks.is_empty:
                    break
                await asyncio.sleep(0.1)
        key = await api_keys.create(database, topics, "tests", ["banks"], actor="user:tests")
        async with (
            served(context) as address,
            aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {key}"}) as caller,
        ):
            asked = {"kind": "image_pdq", "verdict_id": found[0].verdict.verdict_id, "reason": "campaign of May"}
            async with caller.post("/v1/banks/spam/entries", json=asked) as answer:
                assert answer.status == 201, await answer.text()
                entry = (await answer.json())["id"]
            assert await until({("spam",)}, topics, output, "after") < WITHIN_S * slowness()
            async with caller.delete(f"/v1/banks/spam/entries/{entry}") as answer:
                assert answer.status == 204
            assert await until({()}, topics, output, "gone") < WITHIN_S * slowness()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (await one.stop(), await two.stop()) == (0, 0)
