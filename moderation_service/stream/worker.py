"""The worker: polls the input topics, judges records within limits, publishes through one processor a partition.

The loop never waits for a post: it polls while everything is paused, while the engine is away, and while a broker is.
"""

import asyncio
import gc
import time
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from moderation_service.errors import Fatal
from moderation_service.judging.judge import Judge
from moderation_service.kafka import clients, topics
from moderation_service.kafka.aiokafka_workarounds import FetchBuffer, ended_task, force_close, limit_log_rate
from moderation_service.kafka.clients import wait_for_broker
from moderation_service.settings import KafkaSettings
from moderation_service.stream.lag_reporter import LagReporter
from moderation_service.stream.partition_manager import PartitionManager
from moderation_service.stream.polling import Polling
from moderation_service.stream.processor import RecordProcessor
from moderation_service.telemetry import metrics
from moderation_service.telemetry.health import Health

_log = structlog.get_logger(__name__)
TESTED_PARTITIONS = 200  # by `python -m benchmarks.partitions`: each has a producer, with connections of its own
_SHARE = 1 / 30  # of the rebalance timeout: the whole group waits while one member finishes
_CLOSE_S = 0.8
_COLLECT_AT = 5_000  # objects; at Python's 700 a seventh of a post's time is spent looking for cycles, and it has none
_DRAINING_SHARE = 0.6  # of the drain timeout; the rest is for the last release and for closing


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Rebalances are eager: every one of them takes all partitions away and gives some back.

    aiokafka swallows what is raised here, and stops heartbeats while partitions are assigned: so processors open in the
    background, and nothing here can fail.
    """

    def __init__(self, settings: KafkaSettings, manager: PartitionManager, health: Health) -> None:
        self._budget_s = min(settings.drain_timeout_s, settings.rebalance_timeout_s * _SHARE)
        self._manager = manager
        self._health = health

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is nearly done, leave the rest to the next owner; nothing is nearly done without the engine."""
        if names := _names(revoked):
            metrics.REBALANCES.labels("revoked").inc()
            _log.info("partitions revoked", partitions=names)
        await self._manager.close(0.0 if self._manager.blocked_by else self._budget_s)
        metrics.ASSIGNED.set(0)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open a processor for each."""
        partitions = sorted(assigned)
        metrics.REBALANCES.labels("assigned").inc()
        metrics.ASSIGNED.set(len(partitions))
        _log.info("partitions assigned", partitions=_names(partitions))
        if len(partitions) > TESTED_PARTITIONS:
            _log.warning(
                f"{len(partitions)} partitions on this worker; at most {TESTED_PARTITIONS} were tested: add workers"
            )
        self._manager.open(partitions)
        self._health.joined = True


def _names(partitions: Iterable[TopicPartition]) -> list[str]:
    return [f"{partition.topic}:{partition.partition}" for partition in sorted(partitions)]


def tune_garbage_collector() -> None:
    """Let Python look for cycles less often. It is for a process that does nothing else: call it when all is loaded."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AT)


class Worker:
    """One process's share of the input topic."""

    def __init__(self, settings: KafkaSettings, records: RecordProcessor, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._record_processor = records
        self._manager: PartitionManager | None = None

    def judge_by(self, judge: Judge) -> None:
        """Let posts that begin from now on be judged by this one; each that is in work stays with its own."""
        self._record_processor.judge = judge

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain: at most 10 seconds in all.

        Raises Fatal where no broker answers at the start, where the judge says so, and where the input can't be read.
        """
        limit_log_rate()
        consumer = clients.consumer(self._settings, group=self._settings.group, reset="none")  # processors seek
        manager = self._manager = PartitionManager(self._settings, consumer, self._record_processor)
        reporter = LagReporter(self._settings, consumer, manager, self._health)
        try:
            await _unless(stop, _start(consumer, self._settings))
            if not stop.is_set():
                membership = RebalanceListener(self._settings, manager, self._health)
                consumer.subscribe(list(self._settings.input_topics), listener=membership)
                await self._work(consumer, manager, reporter, stop)
        finally:
            self._health.draining = True
            self._health.stop_beating()
            budget_s = self._settings.drain_timeout_s * _DRAINING_SHARE if manager.failure is None else 0.0
            await manager.close(budget_s, for_good=True)
            await force_close(consumer, _CLOSE_S)
            await reporter.close()
            _log.info("drained")

    async def _work(
        self, consumer: AIOKafkaConsumer, manager: PartitionManager, reporter: LagReporter, stop: asyncio.Event
    ) -> None:
        polling, admission = Polling(FetchBuffer(consumer)), manager.admission
        while not stop.is_set():
            if manager.failure is not None:
                raise manager.failure
            if ended := ended_task(consumer):
                msg = f"the Kafka client has stopped working and does not recover; {ended}"
                raise Fatal(msg)
            self._health.beat()
            begun, backpressure = time.monotonic(), admission.backpressure
            polled = await polling.poll(admission.readable, admission.read_ahead, backpressure=backpressure)
            manager.receive(polled)
            if backpressure:
                metrics.BACKPRESSURE.inc(time.monotonic() - begun)
            reporter.report_if_due()


async def _unless(stop: asyncio.Event, beginning: Coroutine[Any, Any, None]) -> None:
    """Await it, but not longer than until `stop` is set."""
    starting, stopping = asyncio.create_task(beginning), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait({starting, stopping})


async def _start(consumer: AIOKafkaConsumer, settings: KafkaSettings) -> None:
    await wait_for_broker(settings)
    await _compare_topics(settings)
    try:
        async with asyncio.timeout(settings.request_timeout_s):
            await consumer.start()
    except (KafkaError, TimeoutError) as error:
        msg = f"kafka.bootstrap_servers {settings.bootstrap_servers}: {error or type(error).__name__}"
        raise Fatal(msg) from error


async def _compare_topics(settings: KafkaSettings) -> None:
    """Warn of topics that are not as they should be. One that can't be looked at stops nothing."""
    outputs = settings.output_topic, settings.dead_letter_topic, settings.escalation_topic
    used = {*settings.input_topics, *outputs, settings.banks_topic}
    try:
        async with asyncio.timeout(settings.request_timeout_s):
            differences = await topics.check(settings, only=used)
    except Exception as error:  # noqa: BLE001 - it may work on well; brokers refuse, and aiokafka raises, many a thing
        _log.info("the topics could not be compared", error=f"{type(error).__name__}: {error}"[:300])
        return
    for difference in differences:
        _log.warning("a topic differs; `moderation topics check` compares", difference=difference)
