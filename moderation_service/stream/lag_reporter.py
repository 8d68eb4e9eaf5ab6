"""Consumer lag and readiness: once a second, gauges of the assigned partitions and the reasons that block them."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka.aiokafka_workarounds import FetchBuffer
from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_manager import PartitionManager
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health

_EVERY_S = 1.0
_SILENT_AFTER_S = 10.0
_FETCHED_LATELY_S = 2.0
_ANSWER_S = 5.0


class LagReporter:
    """Writes metrics and `health.holds`."""

    def __init__(
        self,
        settings: KafkaSettings,
        consumer: AIOKafkaConsumer,
        manager: PartitionManager,
        health: Health,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._buffer = FetchBuffer(consumer)
        self._manager = manager
        self._health = health
        self._shown: set[TopicPartition] = set()
        self._next = 0.0
        self._ends: dict[TopicPartition, int] = {}  # of partitions that are not fetched now
        self._asking: asyncio.Task[None] | None = None

    def report_if_due(self) -> None:
        """Report if a second has passed."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        deliveries = [processor.delivery for processor in self._manager.processors.values()]
        blocked_by = self._manager.blocked_by
        for what in ("engine", "legal hold", "HMA"):
            self._hold(what, held=what in blocked_by)
        self._hold("kafka", held=any(delivery.blocked for delivery in deliveries) or self._silent())
        self._hold("dead letters", held=self._manager.admission.breaker.is_open)
        self._hold("unreadable partition", held=len(self._manager.admission.unreadable) > 0)
        self._hold("records lost", held=any(delivery.loss_marker for delivery in deliveries))
        # a member joins the group whether or not there is the topic, and gets its partitions once there is
        there = (self._consumer.partitions_for_topic(topic) for topic in self._settings.input_topics)
        missing = self._health.joined and not all(there)
        self._hold("input topic missing", held=missing)
        processors = {
            partition: processor for partition, processor in self._manager.processors.items() if processor.is_open
        }
        self._forget(self._shown - set(processors))
        self._shown = set(processors)
        for partition, processor in processors.items():
            number = str(partition.partition)
            metrics.INCOMPLETE.labels(partition.topic, number).set(processor.tracker.posts)
            metrics.COMMITTED.labels(partition.topic, number).set(processor.delivery.committed)
            lag = self._lag(processor)
            if lag is not None:
                metrics.LAG.labels(partition.topic, number).set(lag)
        ago = {partition: self._fetched_ago_s(partition) for partition in processors}
        self._ask_for_ends([partition for partition, s in ago.items() if s is None or s > _FETCHED_LATELY_S])

    async def close(self) -> None:
        """The worker ended: nothing is ours, nothing is held."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        self._forget(self._shown)
        metrics.ASSIGNED.set(0)
        self._health.holds.clear()

    def _forget(self, partitions: set[TopicPartition]) -> None:
        for partition in partitions:
            self._ends.pop(partition, None)
            number = str(partition.partition)
            for gauge in (metrics.LAG, metrics.INCOMPLETE, metrics.COMMITTED):
                with suppress(KeyError):
                    gauge.remove(partition.topic, number)

    def _hold(self, name: str, *, held: bool) -> None:
        (self._health.holds.add if held else self._health.holds.discard)(name)

    def _silent(self) -> bool:
        """Whether a partition that should be fetched has not been for long: the broker is away."""
        waited_for = self._manager.admission.readable - set(self._buffer.partitions)
        return any((self._fetched_ago_s(partition) or 0.0) > _SILENT_AFTER_S for partition in waited_for)

    def _fetched_ago_s(self, partition: TopicPartition) -> float | None:
        """Seconds since a broker last reported it; None where none has yet, or the partition is no longer ours."""
        if partition not in self._consumer.assignment():
            return None
        fetched = self._consumer.last_poll_timestamp(partition)
        return None if fetched is None else time.time() - fetched / 1000

    def _lag(self, processor: PartitionProcessor) -> int | None:
        """Offsets up to the last stable one. An idle one has read as far as the consumer, past markers too."""
        if processor.partition not in self._consumer.assignment():
            return None
        ends = self._consumer.last_stable_offset(processor.partition), self._ends.get(processor.partition)
        end = max((known for known in ends if known is not None), default=None)
        if end is None:
            return None
        reached = processor.delivery.committed
        if not processor.tracker.posts and not processor.full:
            reached = max(reached, self._buffer.position(processor.partition) or 0)
        return max(0, end - reached)

    def _ask_for_ends(self, partitions: Sequence[TopicPartition]) -> None:
        """Ask the brokers where partitions end that are not fetched now: they are paused, or much waits there."""
        if partitions and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask(partitions))

    async def _ask(self, partitions: Sequence[TopicPartition]) -> None:
        with suppress(Exception):  # the last answer stays; a metric stops nothing
            async with asyncio.timeout(_ANSWER_S):
                self._ends |= await self._consumer.end_offsets(partitions)
