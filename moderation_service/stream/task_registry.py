"""Registry of judging tasks by partition, so that a revoked partition's tasks are cancelled together."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

import structlog
from aiokafka import TopicPartition

from moderation_service.errors import Fatal
from moderation_service.judging.fair_queue import FAIRNESS_KEY
from moderation_service.stream.dead_letters import crashed_worker
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.received_record import ReceivedRecord
from moderation_service.telemetry import metrics

_log = structlog.get_logger(__name__)


class TaskRegistry:
    """Starts and cancels judging tasks. `failed` is called with what must end the process."""

    def __init__(self, processing: RecordProcessor, failed: Callable[[Fatal], None]) -> None:
        """Nothing is judged yet."""
        self._processing = processing
        self._failed = failed
        self._tasks: defaultdict[TopicPartition, dict[asyncio.Task[None], ReceivedRecord]] = defaultdict(dict)

    def start(self, processor: PartitionProcessor, received: ReceivedRecord) -> None:
        """Judge a record of a processor, which takes it into its tracker now, and hears when it is finished.

        One that several processes died on becomes a dead letter, unread. A deletion has nothing to die on.
        """
        metrics.RECEIVED.inc()
        processor.tracker.take(received.record.offset, received.size)
        processor.taken_at = time.monotonic()
        if processor.guard.convicts and received.record.value is not None:
            attempts = processor.guard.deaths + 1
            processor.finish(
                received.record.offset, crashed_worker(received, self._processing.settings, attempts=attempts)
            )
            return
        task = asyncio.create_task(self._judge(processor, received))
        tasks = self._tasks[processor.partition]
        tasks[task] = received
        task.add_done_callback(lambda done: tasks.pop(done, None))

    @property
    def held(self) -> bool:
        """Whether the engine finishes nothing."""
        return self._processing.held

    def survives(self, partition: TopicPartition) -> bool:
        """Whether a record of this partition has gone through the engine's hands, and waits for it now."""
        return any(self._processing.retries(received) for received in self._tasks.get(partition, {}).values())

    def abandon(self, partition: TopicPartition) -> None:
        """Leave what is not finished to the partition's next owner."""
        for task in self._tasks.pop(partition, ()):
            task.cancel()

    async def _judge(self, processor: PartitionProcessor, received: ReceivedRecord) -> None:
        FAIRNESS_KEY.set(processor.partition)
        try:
            finished = await self._processing.finish(received)
            processor.finish(received.record.offset, finished)
        except Fatal as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a bug must stop the process, not the partition
            _log.exception(
                "a record could not be finished",
                topic=processor.partition.topic,
                partition=processor.partition.partition,
            )
            self._failed(Fatal(f"a record could not be finished: {type(error).__name__}"))
