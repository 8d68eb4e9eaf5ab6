"""Publisher of one partition: outputs and offset in one transaction, or first the outputs and then the offset."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition, errors

from moderation_service.kafka import clients
from moderation_service.kafka.aiokafka_workarounds import force_close
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import Output

CLOSE_S = 0.8
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)


class ProducerFenced(Exception):  # noqa: N818 - a fate, not a fault
    """The partition belongs to somebody else now."""


class OutputTooLarge(Exception):  # noqa: N818 - a fate, not a fault
    """The broker refuses an output's size; `index` says which, where it is known."""

    def __init__(self, index: int | None) -> None:
        super().__init__()
        self.index = index


class Publisher(ABC):
    """One partition's producer. After another exception than these two the outcome of a publication is unknown."""

    _transactional_id: str | None = None

    def __init__(self, settings: KafkaSettings, partition: TopicPartition) -> None:
        self._settings = settings
        self._partition = partition
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Begin, or begin anew: what an earlier producer of this partition left open is aborted."""
        await self.close()
        settings = self._settings
        topics = (settings.output_topic, settings.dead_letter_topic)
        producer = self._producer = clients.producer(settings, self._transactional_id, topics=topics)
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                await producer.start()
        except BaseException:
            await self.close()
            raise

    @abstractmethod
    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        """Write the outputs and commit the offset with its metadata.

        Raises ProducerFenced and OutputTooLarge, which names the output when each send is awaited.
        """

    async def close(self) -> None:
        """End in bounded time."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await force_close(producer, CLOSE_S)

    @property
    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            msg = "the partition's producer is not started"
            raise RuntimeError(msg)
        return self._producer


class ExactlyOnce(Publisher):
    """Outputs and offset in one transaction. Starting fences whoever held the partition before."""

    def __init__(self, settings: KafkaSettings, partition: TopicPartition) -> None:
        super().__init__(settings, partition)
        # Group and topic may hold dots: the length of the group, at the end, tells them apart.
        # It begins with GROUP.TOPIC. for which ACLs are given.
        group = settings.group
        self._transactional_id = f"{group}.{partition.topic}.{partition.partition}/{len(group)}"

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        """One transaction. It is fenced where there is a newer producer, or the broker ended this one."""
        producer = self._started
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await producer.begin_transaction()
                sent = await _send(producer, outputs, await_each_send=await_each_send)
                commit = {self._partition: (next_offset, metadata)}
                offsets = producer.send_offsets_to_transaction(commit, self._settings.group)
                await _gather(*sent, offsets)
                await producer.commit_transaction()
        except errors.ProducerFenced as error:
            raise ProducerFenced from error


class AtLeastOnce(Publisher):
    """Every output acknowledged, then the offset committed by the group's member."""

    def __init__(self, settings: KafkaSettings, partition: TopicPartition, consumer: AIOKafkaConsumer) -> None:
        super().__init__(settings, partition)
        self._consumer = consumer

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        """Write, then commit. It is fenced where the group has moved on."""
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await _gather(*await _send(self._started, outputs, await_each_send=await_each_send))
                await self._consumer.commit({self._partition: (next_offset, metadata)})
        except (errors.CommitFailedError, errors.IllegalStateError) as error:
            raise ProducerFenced from error


def publisher_for(settings: KafkaSettings, partition: TopicPartition, consumer: AIOKafkaConsumer) -> Publisher:
    """As the settings promise."""
    if settings.delivery == "exactly_once":
        return ExactlyOnce(settings, partition)
    return AtLeastOnce(settings, partition, consumer)


async def _send(
    producer: AIOKafkaProducer, outputs: Sequence[Output], *, await_each_send: bool
) -> "list[asyncio.Future[object]]":
    sent = []
    for index, output in enumerate(outputs):
        try:
            future = await producer.send(output.topic, output.value, output.key, headers=output.headers)
            future.add_done_callback(_retrieve_exception)
            if await_each_send:
                await future
        except _TOO_LARGE as error:
            raise OutputTooLarge(index) from error
        sent.append(future)
    return sent


def _retrieve_exception(future: "asyncio.Future[object]") -> None:
    """See its exception, or asyncio complains where another one was raised first."""
    if not future.cancelled():
        future.exception()


async def _gather(*awaitables: Awaitable[object]) -> None:
    """Wait for all of them, then raise what matters most."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if isinstance(failure, errors.ProducerFenced):
            raise failure
    for failure in failures:
        if isinstance(failure, _TOO_LARGE):
            raise OutputTooLarge(None) from failure
    if failures:
        raise failures[0]
