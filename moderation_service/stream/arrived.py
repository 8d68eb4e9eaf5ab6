"""A record, and when it came."""

import time
from dataclasses import dataclass
from typing import Self

from aiokafka import ConsumerRecord


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record as it came from the consumer, and when (seconds of the monotonic clock)."""

    record: ConsumerRecord
    at: float
    size: int  # bytes of key, value and headers

    @classmethod
    def of(cls, record: ConsumerRecord) -> Self:
        """It arrived just now."""
        headers = sum(len(name) + len(value or b"") for name, value in record.headers)
        return cls(record, time.monotonic(), len(record.key or b"") + len(record.value or b"") + headers)
