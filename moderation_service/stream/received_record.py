"""A consumed record with its arrival time and size."""

import time
from dataclasses import dataclass
from typing import Self

from aiokafka import ConsumerRecord

from moderation_service.kafka.sizes import bytes_of


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """A record as it came from the consumer, and when (seconds of the monotonic clock)."""

    record: ConsumerRecord
    at: float
    size: int  # bytes of key, value and headers

    @classmethod
    def of(cls, record: ConsumerRecord) -> Self:
        """It was received just now."""
        return cls(record, time.monotonic(), bytes_of(record))
