"""Publisher of one partition: outputs and offset in one transaction, or first the outputs and then the offset."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
)

from moderation_service.kafka import clients
from moderation_service.kafka.aiokafka_workarounds import close
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import Output

CLOSE_S = 0.8


class PartitionFenced(Exception):  # noqa: N818 - a fate, not a fault
    """The partition belongs to somebody else now."""


class TooLarge(Exception):  # noqa: N818 - a fate, not a fault
    """The broker refuses an output's size; `index` says which, where it is known."""

    def __init__(self, index: int | None) -> None:
        super().__init__()
        self.index = index


class Publisher(Protocol):
    """Publishes one partition's outputs. Other exceptions than PartitionFenced and TooLarge: the outcome is unknown."""

    async def start(self) -> None:
        """Begin, or begin anew: what an earlier producer of this processor left open is aborted."""

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, note: str = "", singly: bool = False
    ) -> None:
        """Write the outputs and commit the offset with a note; `singly` waits for each, to learn which is refused."""

    async def close(self) -> None:
        """End in bounded time."""


class _Base:
    def __init__(self, settings: KafkaSettings, partition: TopicPartition) -> None:
        self._settings = settings
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        await self.close()
        settings = self._settings
        topics = (settings.output_topic, settings.dead_letter_topic)
        producer = clients.producer(settings, self._transactional_id, topics=topics)
        self._producer = producer
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await producer.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await close(producer, CLOSE_S)

    @property
    def _transactional_id(self) -> str | None:
        return None

    @property
    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            msg = "the partition's producer is not started"
            raise RuntimeError(msg)
        return self._producer


class ExactlyOnce(_Base):
    """Outputs and offset in one transaction. Starting fences whoever held the partition before."""

    @property
    def _transactional_id(self) -> str:
        """The partition's own. Group and topic may hold dots: the length of the group, at the end, tells them apart.

        It begins with GROUP.TOPIC. for which ACLs are given.
        """
        group, partition = self._settings.group, self._partition
        return f"{group}.{partition.topic}.{partition.partition}/{len(group)}"

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, note: str = "", singly: bool = False
    ) -> None:
        """One transaction. Raises PartitionFenced: there is a newer producer, or the broker ended this one."""
        producer = self._started
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await producer.begin_transaction()
                sent = await _send(producer, outputs, singly=singly)
                commit = {self._partition: (next_offset, note)}
                offsets = producer.send_offsets_to_transaction(commit, self._settings.group)
                await _all(*sent, offsets)
                await producer.commit_transaction()
        except ProducerFenced as error:
            raise PartitionFenced from error


class AtLeastOnce(_Base):
    """Every output acknowledged, then the offset committed by the group's member."""

    def __init__(self, settings: KafkaSettings, partition: TopicPartition, consumer: AIOKafkaConsumer) -> None:
        super().__init__(settings, partition)
        self._consumer = consumer

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, note: str = "", singly: bool = False
    ) -> None:
        """Write, then commit. Raises PartitionFenced where the group has moved on."""
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await _all(*await _send(self._started, outputs, singly=singly))
                await self._consumer.commit({self._partition: (next_offset, note)})
        except (CommitFailedError, IllegalStateError) as error:
            raise PartitionFenced from error


def publisher_of(settings: KafkaSettings, partition: TopicPartition, consumer: AIOKafkaConsumer) -> Publisher:
    """As the settings promise."""
    if settings.delivery == "exactly_once":
        return ExactlyOnce(settings, partition)
    return AtLeastOnce(settings, partition, consumer)


async def _send(
    producer: AIOKafkaProducer, outputs: Sequence[Output], *, singly: bool
) -> "list[asyncio.Future[object]]":
    sent = []
    for index, output in enumerate(outputs):
        try:
            future = await producer.send(output.topic, output.value, output.key, headers=output.headers)
            future.add_done_callback(_look_at)
            if singly:
                await future
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise TooLarge(index) from error
        sent.append(future)
    return sent


def _look_at(future: "asyncio.Future[object]") -> None:
    """See its exception, or asyncio complains where another one was raised first."""
    if not future.cancelled():
        future.exception()


async def _all(*awaitables: object) -> None:
    """Wait for all of them, then raise what matters most."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)  # type: ignore[call-overload]
    failures = [result for result in results if isinstance(result, BaseException)]
    for kind in (ProducerFenced, MessageSizeTooLargeError, RecordListTooLargeError, BaseException):
        for failure in failures:
            if isinstance(failure, kind):
                if kind in {MessageSizeTooLargeError, RecordListTooLargeError}:
                    raise TooLarge(None) from failure
                raise failure
