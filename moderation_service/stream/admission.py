"""Admission control: which waiting records may begin.

Records start as the in-flight limits allow: the most urgent topic first, round-robin over its partitions. A less urgent
topic is never starved, because the limits reserve a part for each partition.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from aiokafka import AIOKafkaConsumer

from moderation_service.settings import KafkaSettings
from moderation_service.stream.dlq_breaker import DeadLetterBreaker
from moderation_service.stream.held_partitions import HeldPartitions
from moderation_service.stream.in_flight_limits import InFlightLimit, InFlightLimits
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.received_record import ReceivedRecord


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
