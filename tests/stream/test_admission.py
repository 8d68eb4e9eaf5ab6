"""What may begin, on processors that nothing runs."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.stream.admission import AdmissionController, DeadLetterBreaker
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processing_result import ReceivedRecord
from tests.stream.records import record


class Consumer:
    """Remembers who is paused."""

    def __init__(self, partitions: set[TopicPartition]) -> None:
        self.partitions = partitions
        self.at_rest: set[TopicPartition] = set()

    def assignment(self) -> set[TopicPartition]:
        return self.partitions

    def paused(self) -> set[TopicPartition]:
        return self.at_rest

    def pause(self, partition: TopicPartition) -> None:
        self.at_rest.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self.at_rest.discard(partition)


def processors_with(settings: KafkaSettings, waiting: int, count: int = 3) -> list[PartitionProcessor]:
    """Processors that are not open, each with a queue."""
    processors = [
        PartitionProcessor(TopicPartition("posts", number), settings, SimpleNamespace(blocked=False))  # type: ignore[arg-type]
        for number in range(count)
    ]
    for processor in processors:
        processor.waiting.extend(ReceivedRecord.of(record(b"x", offset=offset)) for offset in range(waiting))
    return processors


def admission_of(
    settings: KafkaSettings,
    consumer: Consumer,
    processors: Sequence[PartitionProcessor],
    breaker: DeadLetterBreaker | None = None,
) -> AdmissionController:
    its = {processor.partition: processor for processor in processors}
    admission = AdmissionController(settings, consumer, its)  # type: ignore[arg-type]
    admission.accepts = True
    if breaker is not None:
        admission.breaker = breaker
    return admission


def test_partitions_that_open_one_after_the_other_all_have_their_part() -> None:
    settings = KafkaSettings(max_in_flight_posts=6)
    processors = processors_with(settings, 20)
    consumer = Consumer({processor.partition for processor in processors})
    admission = admission_of(settings, consumer, processors)
    taken = []
    for processor in processors:
        processor.is_open = True
        admission.admit()
        taken.append([its.tracker.posts for its in processors])
    assert taken == [[4, 0, 0], [4, 1, 0], [4, 1, 1]]


def test_processors_with_a_queue_are_paused_until_it_is_gone() -> None:
    settings = KafkaSettings(max_in_flight_posts=6)
    processors = processors_with(settings, 3)
    consumer = Consumer({processor.partition for processor in processors})
    admission = admission_of(settings, consumer, processors)
    admission.admit()
    assert not any(processor.tracker.posts for processor in processors), "none is open"
    for processor in processors:
        processor.is_open = True
    admission.admit()
    assert sum(processor.tracker.posts for processor in processors) == 6
    assert consumer.at_rest == {processor.partition for processor in processors if processor.waiting}
    for processor in processors:
        processor.waiting.clear()
    admission.admit()
    assert not consumer.at_rest


def test_nothing_begins_while_the_breaker_is_open_and_what_waits_is_kept() -> None:
    settings = KafkaSettings(dlq_breaker_window=2, dlq_breaker_pause_s=5.0)
    now = 0.0
    breaker = DeadLetterBreaker(settings, clock=lambda: now)
    processors = processors_with(settings, 3)
    for processor in processors:
        processor.is_open = True
    consumer = Consumer({processor.partition for processor in processors})
    admission = admission_of(settings, consumer, processors, breaker)
    for _ in range(2):
        breaker.record(dead_letter=True)
    admission.admit()
    assert [len(processor.waiting) for processor in processors] == [3, 3, 3]
    now = 5.0
    admission.admit()
    assert [len(processor.waiting) for processor in processors] == [0, 0, 0]


def test_a_record_that_may_have_killed_a_process_is_alone_in_flight_and_suspects_come_one_by_one() -> None:
    settings = KafkaSettings()
    processors = processors_with(settings, waiting=5)
    consumer = Consumer({processor.partition for processor in processors})
    admission = admission_of(settings, consumer, processors)
    for processor, deaths in zip(processors, (0, 1, 1), strict=True):
        processor.is_open = True
        processor.guard.suspects, processor.guard.deaths = 2, deaths

    def in_flight() -> list[int]:
        return [processor.tracker.posts for processor in processors]

    admission.admit()
    admission.admit()
    assert in_flight() == [0, 1, 0]
    processors[1].guard.survived = True
    admission.admit()
    assert in_flight() == [0, 1, 1]
    processors[2].guard.survived = True
    admission.admit()
    admission.admit()
    assert in_flight() == [1, 1, 1]


@pytest.mark.parametrize(("urgent", "taken"), [(20, [2, 2, 8]), (3, [4, 5, 3])])
def test_the_most_urgent_topic_goes_first_and_the_others_keep_their_part(urgent: int, taken: list[int]) -> None:
    settings = KafkaSettings(max_in_flight_posts=12, input_topic="posts", priority_topics=("urgent",))
    processors = [*processors_with(settings, 20, 2), *processors_with(settings, urgent, 1)]
    processors[2].partition = TopicPartition("urgent", 0)
    for processor in processors:
        processor.is_open = True
    admission = admission_of(settings, Consumer(set()), processors)
    admission.admit()
    posts = [processor.tracker.posts for processor in processors]
    assert [*sorted(posts[:2]), posts[2]] == taken
