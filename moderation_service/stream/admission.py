"""Admission control: which waiting records may begin.

Records start as the in-flight limits allow: the most urgent topic first, round-robin over its partitions. A less urgent
topic is never starved, because half of each limit is reserved in equal parts for the partitions: a blocked one fills
the shared half at most. A circuit breaker on the dead-letter ratio pauses intake.
"""

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.errors import Fatal
from moderation_service.judging.scheduler import FAIRNESS_KEY
from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.polling import HeldPartitions
from moderation_service.stream.processing_result import ReceivedRecord, crashed_worker
from moderation_service.stream.processor import RecordProcessor
from moderation_service.telemetry import metrics

_log = structlog.get_logger(__name__)


class InFlightLimit:
    """A limit over all partitions, of posts or of bytes. `used` is what each holds; asking and taking cost O(1)."""

    def __init__(self, limit: int, used: Sequence[int]) -> None:
        """Count what is held."""
        processors = len(used)
        self._used = list(used)
        self._kept = limit // (2 * processors) or int(limit >= processors)
        self._shared = limit - self._kept * processors
        self._over = sum(map(self._beyond, used))

    def admits(self, processor: int, more: int) -> bool:
        """Whether `processor` (an index of `used`) may take `more`; the sum never passes the limit."""
        held = self._used[processor]
        if more and held + more <= self._kept:
            return True
        return self._over + self._beyond(held + more) - self._beyond(held) <= self._shared

    def take(self, processor: int, more: int) -> None:
        """Count `more` for `processor`."""
        held = self._used[processor]
        self._used[processor] = held + more
        self._over += self._beyond(held + more) - self._beyond(held)

    def holds(self, processor: int) -> bool:
        """Whether `processor` holds anything."""
        return self._used[processor] > 0

    def _beyond(self, held: int) -> int:
        """What of it comes out of the shared half."""
        return max(0, held - self._kept)


class InFlightLimits:
    """Posts and bytes in flight."""

    def __init__(self, posts: InFlightLimit, size: InFlightLimit) -> None:
        """Both bounds are of the same processors."""
        self._posts = posts
        self._size = size

    def admits(self, processor: int, size: int) -> bool:
        """Whether `processor` may take one more record of `size` bytes.

        A record larger than its partition's part must pass too: with nothing else of its partition in flight, and one
        such record at a time beyond the limit. So the sum never exceeds the limit by more than one record.
        """
        if not self._posts.admits(processor, 1):
            return False
        return self._size.admits(processor, size) or (
            not self._posts.holds(processor) and self._size.admits(processor, 0)
        )

    def take(self, processor: int, size: int) -> None:
        """Count a record of `size` bytes for `processor`."""
        self._posts.take(processor, 1)
        self._size.take(processor, size)


class DeadLetterBreaker:
    """Open for a while where more than a share of the last records became dead letters; then it looks at new ones.

    Nothing is dropped: what is in flight goes on, what waits stays in Kafka.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Closed, and nothing seen."""
        self._most = settings.dlq_breaker_ratio * settings.dlq_breaker_window
        self._pause_s = settings.dlq_breaker_pause_s
        self._clock = clock
        self._last: deque[bool] = deque(maxlen=settings.dlq_breaker_window)
        self._dead = 0
        self._until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether nothing more is to be taken in."""
        return self._clock() < self._until

    def record(self, *, dead_letter: bool) -> None:
        """A record was finished."""
        if self.is_open:
            return
        if len(self._last) == self._last.maxlen:
            self._dead -= self._last[0]
        self._last.append(dead_letter)
        self._dead += dead_letter
        if len(self._last) == self._last.maxlen and self._dead > self._most:
            _log.error(
                "too many dead letters; admission pauses",
                dead_letters=self._dead,
                of_records=len(self._last),
                seconds=self._pause_s,
            )
            metrics.DEAD_LETTER_PAUSES.inc()
            self._until = self._clock() + self._pause_s
            self._last.clear()
            self._dead = 0


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


class AdmissionController:
    """Starts records within the bounds, and pauses the partitions that have a queue."""

    def __init__(
        self, settings: KafkaSettings, consumer: AIOKafkaConsumer, breaker: DeadLetterBreaker, held: HeldPartitions
    ) -> None:
        """The bounds are the settings'; an open breaker lets nothing begin, and what is held stays paused."""
        self._consumer = consumer
        self._held = held
        self._breaker = breaker
        self._settings = settings
        self._urgency = {topic: number for number, topic in enumerate(settings.input_topics)}

    def admit(
        self, processors: Iterable[PartitionProcessor], start: Callable[[PartitionProcessor, ReceivedRecord], None]
    ) -> None:
        """Call `start` for what may begin; pause the processors with a queue, resume the others.

        A processor that is not open yet has its part of the budget too, or those that open first could take all of it.
        """
        its = list(processors)
        random.shuffle(its)
        if not self._breaker.is_open and (ready := [index for index in _turns(its) if its[index].ready]):
            self._take(its, ready, start)
        assigned, paused = self._consumer.assignment(), self._consumer.paused()
        for processor in its:
            full = processor.full or self._held.is_waiting(processor.partition)
            if processor.is_open and processor.partition in assigned and full != (processor.partition in paused):
                (self._consumer.pause if full else self._consumer.resume)(processor.partition)

    def _take(
        self,
        processors: Sequence[PartitionProcessor],
        ready: Sequence[int],
        start: Callable[[PartitionProcessor, ReceivedRecord], None],
    ) -> None:
        budget = self._budget_of(processors)

        def urgency(index: int) -> int:
            return self._urgency.get(processors[index].partition.topic, len(self._urgency))

        for _, equals in groupby(sorted(ready, key=urgency), key=urgency):
            hungry = list(equals)
            while hungry:
                still = []
                for index in hungry:
                    processor = processors[index]
                    size = processor.waiting[0].size
                    if budget.admits(index, size):
                        budget.take(index, size)
                        start(processor, processor.waiting.popleft())
                        if processor.ready:
                            still.append(index)
                hungry = still

    def _budget_of(self, processors: Sequence[PartitionProcessor]) -> InFlightLimits:
        return InFlightLimits(
            InFlightLimit(self._settings.max_in_flight_posts, [processor.tracker.posts for processor in processors]),
            InFlightLimit(self._settings.max_in_flight_bytes, [processor.tracker.size for processor in processors]),
        )


def _turns(processors: Sequence[PartitionProcessor]) -> Sequence[int]:
    """Whose records may be taken: everybody's, unless one may have killed a process. That is alone in flight."""
    isolated = [index for index, processor in enumerate(processors) if processor.guard.isolates and not processor.held]
    isolated = [index for index in isolated if processors[index].waiting or processors[index].tracker.posts]
    if not isolated:
        return range(len(processors))
    if any(processor.unproven for processor in processors):
        return []
    return [min(isolated, key=lambda index: (not processors[index].marking, processors[index].partition))]
