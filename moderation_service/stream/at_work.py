"""The tasks that judge a worker's records, by partition, so that a partition's can be given up together."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import structlog
from aiokafka import TopicPartition

from moderation_service.errors import Fatal
from moderation_service.judging.turns import LANE
from moderation_service.stream.arrived import Arrived
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
        self._tasks: defaultdict[TopicPartition, set[asyncio.Task[None]]] = defaultdict(set)

    def start(self, lane: Lane, arrived: Arrived) -> None:
        """Judge a record of a lane, which takes it into its ledger now, and hears when it is finished."""
        metrics.RECEIVED.inc()
        lane.ledger.take(arrived.record.offset, arrived.size)
        task = asyncio.create_task(self._judge(lane, arrived))
        tasks = self._tasks[lane.partition]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

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
            _log.exception("a record could not be finished", partition=lane.partition.partition)
            self._failed(Fatal(f"a record could not be finished: {type(error).__name__}"))
