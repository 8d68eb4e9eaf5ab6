"""A partition that can't be read is tried again, less and less often."""

from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.stream.polling import BlockedPartitions, Unreadable

BAD, GOOD = TopicPartition("posts", 3), TopicPartition("posts", 4)


def test_it_is_tried_again_with_growing_delays_until_it_is_released() -> None:
    now = 0.0
    blocked = BlockedPartitions(KafkaSettings(), lambda: now)
    error = Unreadable(BAD, "corrupt_batch", 7, 9, "crc")
    for delay_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        assert blocked.block(error) == delay_s
        assert blocked.is_waiting(BAD)
        assert not blocked.is_waiting(GOOD)
        now += delay_s
        assert not blocked.is_waiting(BAD)
    assert len(blocked) == 1
    blocked.release(GOOD)
    blocked.release(BAD)
    assert len(blocked) == 0
    assert blocked.block(error) == 1.0


def test_another_reason_takes_the_place_of_the_first() -> None:
    blocked = BlockedPartitions(KafkaSettings())
    blocked.block(Unreadable(BAD, "corrupt_batch", 7, 9, "crc"))
    blocked.block(Unreadable(BAD, "offset_out_of_range", 7, 5, "the log ends at 5"))
    blocked.clear()
    assert len(blocked) == 0
