"""Admission control: which waiting records may begin, and how much more may be read.

Records begin as the in-flight limits allow: the most urgent topic first, round-robin over its partitions. A less urgent
topic is never starved, because half of each limit is reserved in equal parts for the partitions: a blocked one fills
the shared half at most. A circuit breaker on the dead-letter ratio pauses intake.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka.aiokafka_workarounds import CorruptBatch, FetchBuffer
from moderation_service.settings import KafkaSettings
from moderation_service.stream.offset_tracker import InFlightLimit, InFlightLimits
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.polling import BlockedPartitions, Polled, ReadAhead, Unreadable
from moderation_service.stream.processing_result import ReceivedRecord
from moderation_service.telemetry import metrics

_COMMIT_POSITIONS_EVERY_S = 1.0
_log = structlog.get_logger(__name__)


class DeadLetterBreaker:
    """Open for a while where more than a share of the last records became dead letters; then it looks at new ones.

    Nothing is dropped: what is in flight goes on, what waits stays in Kafka.
    """

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
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


class AdmissionController:
    """Queues what was read, reads no more than may wait, and lets records begin within the limits."""

    def __init__(
        self,
        settings: KafkaSettings,
        consumer: AIOKafkaConsumer,
        processors: Mapping[TopicPartition, PartitionProcessor],
    ) -> None:
        self.accepts = False  # while partitions are assigned
        self.breaker = DeadLetterBreaker(settings)  # while it is open nothing begins
        self.unreadable = BlockedPartitions(settings)  # stay paused
        self._settings = settings
        self._consumer = consumer
        self._processors = processors
        self._buffer = FetchBuffer(consumer)
        self._urgency = {topic: number for number, topic in enumerate(settings.input_topics)}
        self._commit_positions_at = 0.0

    @property
    def backpressure(self) -> bool:
        """Whether some processor takes nothing in because too much is in flight."""
        return any(processor.waiting or processor.awaiting_refetch for processor in self._processors.values())

    @property
    def readable(self) -> AbstractSet[TopicPartition]:
        """The partitions of which more may be read: nothing waits there."""
        if not self.accepts:
            return frozenset()
        return {its.partition for its in self._processors.values() if its.is_open and self._may_read(its)}

    @property
    def read_ahead(self) -> ReadAhead:
        """How much of them may be read now."""
        waiting = (received.size for processor in self._processors.values() for received in processor.waiting)
        limits = self._settings.max_in_flight_posts, self._settings.max_in_flight_bytes
        return ReadAhead(*limits, len(self._processors), waiting)

    def receive(self, polled: Polled) -> None:
        """Queue what a poll found, and note where the log can't be read."""
        self._leave(polled.out_of_range)
        if polled.corrupt is not None:
            self._block(polled.corrupt)
        for partition, records in polled.batches.items():
            processor = self._processors.get(partition)
            if processor is None or not processor.is_open:
                continue  # it seeks once it is open, and they come again
            if records[0].offset < processor.position:
                self._leave({partition: processor.position})  # the topic was made anew
                continue
            self.unreadable.release(partition)
            processor.waiting.extend(map(ReceivedRecord.of, records))
            processor.position = records[-1].offset + 1
        if not self.breaker.is_open and not any(its.tracker.posts for its in self._processors.values()):
            self.allow_refetch()  # nothing is in flight that could make room

    def admit(self) -> Sequence[tuple[PartitionProcessor, ReceivedRecord]]:
        """Take from the queues what may begin; pause the partitions that still have one, resume the others.

        A processor that is not open yet has its part of the limits too, or those that open first could take all of it.
        """
        shuffled = list(self._processors.values())
        random.shuffle(shuffled)
        ready = [] if self.breaker.is_open else [index for index in _turns(shuffled) if shuffled[index].prepare_next()]
        admitted = self._take(shuffled, ready) if ready else []
        assigned, paused = self._consumer.assignment(), self._consumer.paused()
        for processor in shuffled:
            full = not self._may_read(processor)
            if processor.is_open and processor.partition in assigned and full != (processor.partition in paused):
                (self._consumer.pause if full else self._consumer.resume)(processor.partition)
        return admitted

    def evict_queued(self) -> None:
        """Let go of what waits and what is fetched beyond the limit of bytes; it is fetched again later."""
        most = self._settings.max_in_flight_bytes
        sizes = {
            its: sum(received.size for received in its.waiting) for its in self._processors.values() if its.waiting
        }
        while sum(sizes.values()) > most:
            largest = max(sizes, key=lambda processor: sizes[processor])
            del sizes[largest]
            largest.position = largest.waiting[0].record.offset
            largest.waiting.clear()
            largest.awaiting_refetch = True
            self.seek(largest)
        if self._buffer.held_bytes > most:
            for processor in self._processors.values():
                if processor.is_open and processor.full and not processor.is_out_of_range:
                    self.seek(processor)

    def allow_refetch(self) -> None:
        """Let a partition be read again of which something was given back."""
        for processor in self._processors.values():
            if processor.awaiting_refetch:
                processor.awaiting_refetch = False
                break

    def rewind(self) -> None:
        """Fetch again what was not taken in."""
        for processor in self._processors.values():
            if processor.is_open and not processor.is_out_of_range:
                self.seek(processor)

    def seek(self, processor: PartitionProcessor) -> None:
        """Fetch from the processor's position."""
        if processor.partition in self._consumer.assignment():
            self._consumer.seek(processor.partition, processor.position)

    def pause(self, partition: TopicPartition) -> None:
        """Fetch nothing of it for now."""
        if partition in self._consumer.assignment():
            self._consumer.pause(partition)

    def commit_positions(self) -> None:
        """Once a second let idle processors commit the position of the consumer: it passes what is not a record."""
        if time.monotonic() < self._commit_positions_at:
            return
        self._commit_positions_at = time.monotonic() + _COMMIT_POSITIONS_EVERY_S
        for partition in self.readable & self._consumer.assignment():
            processor, offset = self._processors[partition], self._buffer.position(partition)
            if offset is not None and not processor.tracker.posts:
                processor.commit_idle_position(offset)

    def _leave(self, out_of_range: Mapping[TopicPartition, int]) -> None:
        """What comes next in these is not in the log: what they have in flight is published, then they open anew."""
        for partition, offset in out_of_range.items():
            processor = self._processors.get(partition)
            if processor is not None and processor.is_open and offset >= processor.position:
                processor.is_out_of_range = True
                processor.drain()
                processor.end_if_out_of_range()

    def _block(self, batch: CorruptBatch) -> None:
        """Block its partition: others go on, and it is fetched again after a while."""
        partition = batch.partition
        processor = self._processors.get(partition)
        if processor is not None and processor.is_open:
            error = Unreadable(partition, "corrupt_batch", batch.offset, batch.next_offset, str(batch))
            self.unreadable.block(error)
            self.pause(partition)

    def _may_read(self, processor: PartitionProcessor) -> bool:
        return not processor.full and not self.unreadable.is_waiting(processor.partition)

    def _take(
        self, processors: Sequence[PartitionProcessor], ready: Sequence[int]
    ) -> Sequence[tuple[PartitionProcessor, ReceivedRecord]]:
        admitted = []
        limits = InFlightLimits(
            InFlightLimit(self._settings.max_in_flight_posts, [its.tracker.posts for its in processors]),
            InFlightLimit(self._settings.max_in_flight_bytes, [its.tracker.size for its in processors]),
        )

        def urgency(index: int) -> int:
            return self._urgency.get(processors[index].partition.topic, len(self._urgency))

        for _, equals in groupby(sorted(ready, key=urgency), key=urgency):
            hungry = list(equals)
            while hungry:
                still = []
                for index in hungry:
                    processor = processors[index]
                    size = processor.waiting[0].size
                    if limits.admits(index, size):
                        limits.take(index, size)
                        admitted.append((processor, processor.take()))
                        if processor.prepare_next():
                            still.append(index)
                hungry = still
        return admitted


def _turns(processors: Sequence[PartitionProcessor]) -> Sequence[int]:
    """Whose records may be taken: everybody's, unless one may have killed a process. That is alone in flight."""
    isolated = [index for index, its in enumerate(processors) if its.guard.must_run_alone and not its.delivery.blocked]
    isolated = [index for index in isolated if processors[index].waiting or processors[index].tracker.posts]
    if not isolated:
        return range(len(processors))
    if any(processor.unproven for processor in processors):
        return []
    return [min(isolated, key=lambda index: (not processors[index].marking, processors[index].partition))]
