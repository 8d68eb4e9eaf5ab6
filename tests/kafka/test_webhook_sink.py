"""The sink of docs/how-to/add-a-sink.md: a process, a real Kafka, and a receiver that fails now and then."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.contracts.examples import verdict
from tests.line.service import environment, kafka_settings

pytestmark = pytest.mark.timeout(120)
SINK = Path(__file__).parents[2] / "examples" / "webhook_sink.py"
PATIENCE_S = 60.0


class Receiver:
    """Takes verdicts; refuses every third one."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.asked = 0
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.asked % 3 == 0:
            return web.Response(status=503)
        assert (await request.json())["decision"] == "block"
        self.keys.append(request.headers["Idempotency-Key"])
        self.came.set()
        return web.Response()

    async def until(self, count: int) -> None:
        """Wait for so many different verdicts."""
        async with asyncio.timeout(PATIENCE_S):
            while len(set(self.keys)) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/blocked", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield receiver, f"{site.name}/blocked".replace(":0/", f":{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


async def sink(settings: KafkaSettings, url: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(SINK), url, env=environment(settings))


def decided(settings: KafkaSettings, *numbers: int) -> list[Record]:
    """Verdicts, every second one a block; and a deletion."""
    records = []
    for number in numbers:
        its = verdict(verdict_id=f"v{number}", decision="block" if number % 2 else "allow")
        records.append(Record(settings.output_topic, b"%d" % number, its.to_json()))
    return [*records, Record(settings.output_topic, b"deleted", None)]


async def test_each_blocked_verdict_is_posted_though_the_sink_is_killed_and_the_receiver_fails(kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=2)
    await publish(settings, decided(settings, *range(40)))
    async with receiving() as (receiver, url):
        for count in (5, 20):
            process = await sink(settings, url)
            await receiver.until(count)
            process.kill()
            await process.wait()
        await publish(settings, decided(settings, *range(40, 60)))
        process = await sink(settings, url)
        await receiver.until(30)
        process.kill()
        await process.wait()
    assert set(receiver.keys) == {f"v{number}" for number in range(60) if number % 2}
