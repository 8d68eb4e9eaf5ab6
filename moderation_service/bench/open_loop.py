"""Posts put on the input topic at times fixed beforehand, and the times of their verdicts.

The loop is open: a post is due when it is due, however far behind the worker or this process is, and its latency counts
from then. What waits because others wait is so counted too (no coordinated omission).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from moderation_service.errors import Fatal
from moderation_service.kafka import clients
from moderation_service.kafka.aiokafka_workarounds import force_close
from moderation_service.kafka.topic_io import Record, send
from moderation_service.kafka.topics import connected, create, partitions_of
from moderation_service.settings import KafkaSettings

SILENCE_S = 60.0
"""Where posts wait and no verdict comes for so long, nobody is at work."""

_CLOSE_S, _POLL_MS = 5.0, 200


@dataclass(frozen=True, slots=True)
class Answered:
    """A step's posts, in the order in which they were due: seconds from then."""

    late: list[float]  # until they were handed over to be sent: what this process alone added
    latency: list[float]  # until the verdict was read
    seconds: float  # from the first one due to the last verdict


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Writes the input topic, and reads the output topic from now on. Verdicts of other posts are passed over."""

    topic: str
    silence_s: float
    _sender: AIOKafkaProducer
    _reader: AIOKafkaConsumer

    async def drive(self, records: Sequence[Record], due: Sequence[float]) -> Answered:
        """Send each record at its time, in seconds from now, and wait for all verdicts; `due` ascends.

        Raises Fatal where a record can't be written, or posts wait and no verdict comes.
        """
        begun, late = time.perf_counter(), list[float]()
        keys = [record.key for record in records]
        reading = asyncio.create_task(self._read(set(keys), late))
        try:
            await self._send(records, due, begun, late)
            seen = await reading
        finally:
            reading.cancel()
        latency = [seen[key] - begun - when for key, when in zip(keys, due, strict=True)]
        return Answered(late, latency, max(seen.values()) - begun - due[0])

    async def _send(self, records: Sequence[Record], due: Sequence[float], begun: float, late: list[float]) -> None:
        sent = []
        for record, when in zip(records, due, strict=True):
            await asyncio.sleep(begun + when - time.perf_counter())
            late.append(time.perf_counter() - begun - when)
            sent.append(await send(self._sender, record))
        await asyncio.gather(*sent)

    async def _read(self, waiting: set[bytes | None], late: Sequence[float]) -> dict[bytes | None, float]:
        """When each key's first verdict was read."""
        seen: dict[bytes | None, float] = {}
        heard = time.perf_counter()
        while waiting:
            found = await self._reader.getmany(timeout_ms=_POLL_MS)
            now = time.perf_counter()
            new = waiting & {record.key for records in found.values() for record in records}
            waiting -= new
            seen |= dict.fromkeys(new, now)
            if new or len(seen) == len(late):
                heard = now
            elif now - heard > self.silence_s:
                msg = (
                    f"bench load: {len(late) - len(seen)} posts on {self.topic} wait, and for {self.silence_s:g} s no "
                    "verdict came; does a worker run, or are they dead letters?"
                )
                raise Fatal(msg)
        return seen


@asynccontextmanager
async def open_loop(settings: KafkaSettings, silence_s: float = SILENCE_S) -> AsyncIterator[OpenLoop]:
    """An open loop on the topics of the settings. Raises Fatal where the broker is away or a topic is missing."""
    async with connected(settings) as client:
        numbers = await partitions_of(client, settings.output_topic)
    if not numbers:
        msg = f"topic {settings.output_topic}: missing; `moderation topics create` makes it"
        raise Fatal(msg)
    reader, sender = clients.consumer(settings, reset="latest"), clients.producer(settings)
    try:
        await sender.start()
        await reader.start()
        reader.assign([TopicPartition(settings.output_topic, number) for number in numbers])
        await reader.seek_to_end()
        yield OpenLoop(settings.input_topic, silence_s, sender, reader)
    except KafkaError as error:
        msg = f"bench load: {error or type(error).__name__}"
        raise Fatal(msg) from error
    finally:
        await force_close(sender, _CLOSE_S)
        await force_close(reader, _CLOSE_S)


async def topics_of(address: str, name: str, role: str, partitions: int) -> KafkaSettings:
    """Settings with an input that all share, and an output and a group of this role's own."""
    settings = KafkaSettings(
        bootstrap_servers=address,
        group=f"{name}.{role}",
        input_topic=f"{name}.posts",
        output_topic=f"{name}.{role}.verdicts",
        dead_letter_topic=f"{name}.dlq",
        review_topic=f"{name}.reviews",
        audit_topic=f"{name}.audit",
        banks_topic=f"{name}.banks",
        escalation_topic=f"{name}.escalations",
    )
    await create(settings, partitions)
    return settings
