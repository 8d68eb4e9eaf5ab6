"""The tasks that judge a worker's records, by partition, so that a partition's can be given up together."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable

import structlog
from aiokafka import TopicPartition

from moderation_service.errors import Fatal
from moderation_service.judging.turns import LANE
from moderation_service.stream.arrived import Arrived
from moderation_service.stream.dead_letters import crashed_worker
from moderation_service.stream.lane import Lane
from moderation_service.stream.processing import Processing
from moderation_service.telemetry import metrics

_log = structlog.get_logger(__name__)


class AtWork:
    """`failed` hears of what ends the process."""

    def __init__(self, processing: Processing, failed: Callable[[Fatal], None]) -> None:
        """Nothing is judged yet."""
        self._processing = processing
        self._failed = failed
        self._tasks: defaultdict[TopicPartition, dict[asyncio.Task[None], Arrived]] = defaultdict(dict)

    def start(self, lane: Lane, arrived: Arrived) -> None:
        """Judge a record of a lane, which takes it into its ledger now, and hears when it is finished.

        One that several processes died on becomes a dead letter, unread. A deletion has nothing to die on.
        """
        metrics.RECEIVED.inc()
        lane.ledger.take(arrived.record.offset, arrived.size)
        lane.taken_at = time.monotonic()
        if lane.guard.convicts and arrived.record.value is not None:
            attempts = lane.guard.deaths + 1
            lane.finish(arrived.record.offset, crashed_worker(arrived, self._processing.settings, attempts=attempts))
            return
        task = asyncio.create_task(self._judge(lane, arrived))
        tasks = self._tasks[lane.partition]
        tasks[task] = arrived
        task.add_done_callback(lambda done: tasks.pop(done, None))

    @property
    def held(self) -> bool:
        """Whether the engine finishes nothing."""
        return self._processing.held

    def survives(self, partition: TopicPartition) -> bool:
        """Whether a record of this partition has gone through the engine's hands, and waits for it now."""
        return any(self._processing.retries(arrived) for arrived in self._tasks.get(partition, {}).values())

    def abandon(self, partition: TopicPartition) -> None:
        """Leave what is not finished to the partition's next owner."""
        for task in self._tasks.pop(partition, ()):
            task.cancel()

    async def _judge(self, lane: Lane, arrived: Arrived) -> None:
        LANE.set(lane.partition)
        try:
            finished = await self._processing.finish(arrived)
            lane.finish(arrived.record.offset, finished)
        except Fatal as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - a bug must stop the process, not the partition
            _log.exception(
                "a record could not be finished", topic=lane.partition.topic, partition=lane.partition.partition
            )
            self._failed(Fatal(f"a record could not be finished: {type(error).__name__}"))
