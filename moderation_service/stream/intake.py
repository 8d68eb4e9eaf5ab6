"""Admission control: which waiting records may begin.

As the budget lets them in, the most urgent topic first, a record of each of its lanes in turn. A less urgent topic is
never starved: the budget keeps a part for each lane.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from aiokafka import AIOKafkaConsumer

from moderation_service.settings import KafkaSettings
from moderation_service.stream.arrived import Arrived
from moderation_service.stream.breaker import DeadLetterBreaker
from moderation_service.stream.budget import Bound, Budget
from moderation_service.stream.held_partitions import HeldPartitions
from moderation_service.stream.lane import Lane


class Intake:
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

    def admit(self, lanes: Iterable[Lane], start: Callable[[Lane, Arrived], None]) -> None:
        """Call `start` for what may begin; pause the lanes with a queue, resume the others.

        A lane that is not open yet has its part of the budget too, or those that open first could take all of it.
        """
        its = list(lanes)
        random.shuffle(its)
        if not self._breaker.is_open and (ready := [index for index in _turns(its) if its[index].ready]):
            self._take(its, ready, start)
        assigned, paused = self._consumer.assignment(), self._consumer.paused()
        for lane in its:
            full = lane.full or self._held.is_waiting(lane.partition)
            if lane.is_open and lane.partition in assigned and full != (lane.partition in paused):
                (self._consumer.pause if full else self._consumer.resume)(lane.partition)

    def _take(self, lanes: Sequence[Lane], ready: Sequence[int], start: Callable[[Lane, Arrived], None]) -> None:
        budget = self._budget_of(lanes)

        def urgency(index: int) -> int:
            return self._urgency.get(lanes[index].partition.topic, len(self._urgency))

        for _, equals in groupby(sorted(ready, key=urgency), key=urgency):
            hungry = list(equals)
            while hungry:
                still = []
                for index in hungry:
                    lane = lanes[index]
                    size = lane.waiting[0].size
                    if budget.admits(index, size):
                        budget.take(index, size)
                        start(lane, lane.waiting.popleft())
                        if lane.ready:
                            still.append(index)
                hungry = still

    def _budget_of(self, lanes: Sequence[Lane]) -> Budget:
        return Budget(
            Bound(self._settings.max_in_flight_posts, [lane.ledger.posts for lane in lanes]),
            Bound(self._settings.max_in_flight_bytes, [lane.ledger.size for lane in lanes]),
        )


def _turns(lanes: Sequence[Lane]) -> Sequence[int]:
    """Whose records may be taken: everybody's, unless one may have killed a process. That is alone in flight."""
    isolated = [index for index, lane in enumerate(lanes) if lane.guard.isolates and not lane.held]
    isolated = [index for index in isolated if lanes[index].waiting or lanes[index].ledger.posts]
    if not isolated:
        return range(len(lanes))
    if any(lane.unproven for lane in lanes):
        return []
    return [min(isolated, key=lambda index: (not lanes[index].marking, lanes[index].partition))]
