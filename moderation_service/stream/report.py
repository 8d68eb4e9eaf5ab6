"""Once a second: gauges of the partitions that are ours, and what holds the lanes."""

import asyncio
import time
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from moderation_service.settings import KafkaSettings
from moderation_service.stream.fleet import Fleet
from moderation_service.stream.lane import Lane
from moderation_service.stream.processing import Processing
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health

_EVERY_S = 1.0
_POSITION_S = 0.05
_SILENT_AFTER_S = 10.0


class Report:
    """Writes metrics and `health.holds`."""

    def __init__(
        self,
        settings: KafkaSettings,
        consumer: AIOKafkaConsumer,
        fleet: Fleet,
        processing: Processing,
        health: Health,
    ) -> None:
        """Nothing is reported yet."""
        self._settings = settings
        self._consumer = consumer
        self._fleet = fleet
        self._processing = processing
        self._health = health
        self._shown: set[TopicPartition] = set()
        self._next = 0.0

    async def maybe(self) -> None:
        """Report if a second has passed."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        self._hold("engine", held=self._processing.held)
        self._hold("kafka", held=self._fleet.held or self._silent())
        self._hold("dead letters", held=self._fleet.poisoned)
        self._hold("unreadable partition", held=len(self._fleet.unreadable) > 0)
        self._hold("records lost", held=self._fleet.lossy)
        # a member joins the group whether or not there is the topic, and gets its partitions once there is
        there = (self._consumer.partitions_for_topic(topic) for topic in self._settings.input_topics)
        missing = self._health.joined and not all(there)
        self._hold("input topic missing", held=missing)
        lanes = {partition: lane for partition, lane in self._fleet.lanes.items() if lane.is_open}
        self._forget(self._shown - set(lanes))
        self._shown = set(lanes)
        for partition, lane in lanes.items():
            number = str(partition.partition)
            metrics.INCOMPLETE.labels(partition.topic, number).set(lane.ledger.posts)
            metrics.COMMITTED.labels(partition.topic, number).set(lane.committed)
            lag = await self._lag(lane)
            if lag is not None:
                metrics.LAG.labels(partition.topic, number).set(lag)

    def clear(self) -> None:
        """The worker ended: nothing is ours, nothing is held."""
        self._forget(self._shown)
        metrics.ASSIGNED.set(0)
        self._health.holds.clear()

    @staticmethod
    def _forget(partitions: set[TopicPartition]) -> None:
        for partition in partitions:
            number = str(partition.partition)
            for gauge in (metrics.LAG, metrics.INCOMPLETE, metrics.COMMITTED):
                with suppress(KeyError):
                    gauge.remove(partition.topic, number)

    def _hold(self, name: str, *, held: bool) -> None:
        (self._health.holds.add if held else self._health.holds.discard)(name)

    def _silent(self) -> bool:
        """Whether a partition that should be fetched has not been for long: the broker is away."""
        for partition, lane in self._fleet.lanes.items():
            if lane.is_open and not lane.waiting and partition in self._consumer.assignment():
                fetched = self._consumer.last_poll_timestamp(partition)
                if fetched is not None and time.time() - fetched / 1000 > _SILENT_AFTER_S:
                    return True
        return False

    async def _lag(self, lane: Lane) -> int | None:
        """Records up to the partition's end; an idle lane is as far as the consumer, which has passed markers too."""
        if lane.partition not in self._consumer.assignment():
            return None
        end = self._consumer.highwater(lane.partition)
        if end is None:
            return None
        reached = lane.committed
        if not lane.ledger.posts and not lane.waiting:
            with suppress(TimeoutError, IllegalStateError):
                async with asyncio.timeout(_POSITION_S):
                    position = await self._consumer.position(lane.partition)
                self._fleet.pass_by(lane, position)
                reached = max(reached, position)
        return max(0, int(end) - reached)
