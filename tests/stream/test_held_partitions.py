"""A partition that can't be read is tried again, less and less often."""

from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.stream.polling import HeldPartitions, Unreadable

BAD, GOOD = TopicPartition("posts", 3), TopicPartition("posts", 4)


def test_it_is_tried_again_with_growing_delays_until_it_is_released() -> None:
    now = 0.0
    held = HeldPartitions(KafkaSettings(), lambda: now)
    error = Unreadable(BAD, "corrupt_batch", 7, 9, "crc")
    for delay_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        assert held.hold(error) == delay_s
        assert held.is_waiting(BAD)
        assert not held.is_waiting(GOOD)
        now += delay_s
        assert not held.is_waiting(BAD)
    assert len(held) == 1
    held.release(GOOD)
    held.release(BAD)
    assert len(held) == 0
    assert held.hold(error) == 1.0


def test_another_reason_takes_the_place_of_the_first() -> None:
    held = HeldPartitions(KafkaSettings())
    held.hold(Unreadable(BAD, "corrupt_batch", 7, 9, "crc"))
    held.hold(Unreadable(BAD, "offset_out_of_range", 7, 5, "the log ends at 5"))
    held.clear()
    assert len(held) == 0
