"""What may begin, on lanes that nothing runs."""

import time
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.stream.arrived import Arrived
from moderation_service.stream.breaker import DeadLetterBreaker
from moderation_service.stream.held_partitions import HeldPartitions
from moderation_service.stream.intake import Intake
from moderation_service.stream.lane import Lane
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


def lanes_with(settings: KafkaSettings, waiting: int, count: int = 3) -> list[Lane]:
    """Lanes that are not open, each with a queue."""
    lanes = [Lane(TopicPartition("posts", number), settings, *[SimpleNamespace()] * 3) for number in range(count)]  # type: ignore[arg-type]
    for lane in lanes:
        lane.waiting.extend(Arrived.of(record(b"x", offset=offset)) for offset in range(waiting))
    return lanes


def begin(lane: Lane, arrived: Arrived) -> None:
    lane.ledger.take(arrived.record.offset, arrived.size)


def test_lanes_that_open_one_after_the_other_all_have_their_part() -> None:
    settings = KafkaSettings(max_in_flight_posts=6)
    lanes = lanes_with(settings, 20)
    consumer = Consumer({lane.partition for lane in lanes})
    intake = Intake(settings, consumer, DeadLetterBreaker(settings), HeldPartitions(settings))  # type: ignore[arg-type]
    taken = []
    for lane in lanes:
        lane.is_open = True
        intake.admit(lanes, begin)
        taken.append([its.ledger.posts for its in lanes])
    assert taken == [[4, 0, 0], [4, 1, 0], [4, 1, 1]]


def test_lanes_with_a_queue_are_paused_until_it_is_gone() -> None:
    settings = KafkaSettings(max_in_flight_posts=6)
    lanes = lanes_with(settings, 3)
    consumer = Consumer({lane.partition for lane in lanes})
    intake = Intake(settings, consumer, DeadLetterBreaker(settings), HeldPartitions(settings))  # type: ignore[arg-type]
    intake.admit(lanes, begin)
    assert not any(lane.ledger.posts for lane in lanes), "none is open"
    for lane in lanes:
        lane.is_open = True
    intake.admit(lanes, begin)
    assert sum(lane.ledger.posts for lane in lanes) == 6
    assert consumer.at_rest == {lane.partition for lane in lanes if lane.waiting}
    for lane in lanes:
        lane.waiting.clear()
    intake.admit(lanes, begin)
    assert not consumer.at_rest


def test_nothing_begins_while_the_breaker_is_open_and_what_waits_is_kept() -> None:
    settings = KafkaSettings(dead_letter_window=2, dead_letter_pause_s=5.0)
    now = 0.0
    breaker = DeadLetterBreaker(settings, clock=lambda: now)
    lanes = lanes_with(settings, 3)
    for lane in lanes:
        lane.is_open = True
    intake = Intake(settings, Consumer({lane.partition for lane in lanes}), breaker, HeldPartitions(settings))  # type: ignore[arg-type]
    for _ in range(2):
        breaker.saw(dead_letter=True)
    intake.admit(lanes, begin)
    assert [len(lane.waiting) for lane in lanes] == [3, 3, 3]
    now = 5.0
    intake.admit(lanes, begin)
    assert [len(lane.waiting) for lane in lanes] == [0, 0, 0]


def test_a_record_that_may_have_killed_a_process_is_alone_in_flight_and_the_suspects_of_a_lane_come_one_by_one() -> (
    None
):
    settings = KafkaSettings()
    lanes = lanes_with(settings, waiting=5)
    consumer = Consumer({lane.partition for lane in lanes})
    intake = Intake(settings, consumer, DeadLetterBreaker(settings), HeldPartitions(settings))  # type: ignore[arg-type]
    for lane, deaths in zip(lanes, (0, 1, 1), strict=True):
        lane.is_open = True
        lane.guard.suspects, lane.guard.deaths = 2, deaths

    def in_flight() -> list[int]:
        return [lane.ledger.posts for lane in lanes]

    def begin_now(lane: Lane, arrived: Arrived) -> None:
        begin(lane, arrived)
        lane.taken_at = time.monotonic()

    intake.admit(lanes, begin_now)
    intake.admit(lanes, begin_now)
    assert in_flight() == [0, 1, 0]
    lanes[1].guard.survived = True
    intake.admit(lanes, begin_now)
    assert in_flight() == [0, 1, 1]
    lanes[2].guard.survived = True
    intake.admit(lanes, begin_now)
    intake.admit(lanes, begin_now)
    assert in_flight() == [1, 1, 1]


@pytest.mark.parametrize(("urgent", "taken"), [(20, [2, 2, 8]), (3, [4, 5, 3])])
def test_the_most_urgent_topic_goes_first_and_the_others_keep_their_part(urgent: int, taken: list[int]) -> None:
    settings = KafkaSettings(max_in_flight_posts=12, input_topic="posts", priority_topics=("urgent",))
    lanes = [*lanes_with(settings, 20, 2), *lanes_with(settings, urgent, 1)]
    lanes[2].partition = TopicPartition("urgent", 0)
    for lane in lanes:
        lane.is_open = True
    intake = Intake(settings, Consumer(set()), DeadLetterBreaker(settings), HeldPartitions(settings))  # type: ignore[arg-type]
    intake.admit(lanes, begin)
    posts = [lane.ledger.posts for lane in lanes]
    assert [*sorted(posts[:2]), posts[2]] == taken
