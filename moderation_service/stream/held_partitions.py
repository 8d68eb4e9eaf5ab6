"""Blocked partitions: one that can't be read is retried with exponential backoff, while all others go on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics

_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 60.0
_log = structlog.get_logger(__name__)
Reason = Literal["corrupt_batch", "offset_out_of_range"]


class Unreadable(Exception):  # noqa: N818 - a fate, not a fault
    """The log of a partition can't be read at `offset`; at `resume_at` it can be, as far as is known."""

    def __init__(self, partition: TopicPartition, reason: Reason, offset: int, resume_at: int, what: str) -> None:
        super().__init__(what)
        self.partition = partition
        self.reason: Reason = reason
        self.offset = offset
        self.resume_at = resume_at


@dataclass(slots=True)
class _Held:
    error: Unreadable
    delay_s: float
    until: float


class HeldPartitions:
    """Which partitions are held, and when each is tried again."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """None is held."""
        self._settings = settings
        self._clock = clock
        self._held: dict[TopicPartition, _Held] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def __contains__(self, partition: TopicPartition) -> bool:
        """Whether this one is held."""
        return partition in self._held

    def hold(self, error: Unreadable) -> float:
        """Hold its partition; the seconds until it is tried again. Logs how to reset it."""
        partition, last = error.partition, self._held.get(error.partition)
        delay_s = min(_LONGEST_DELAY_S, last.delay_s * 2) if last else _FIRST_DELAY_S
        if last and last.error.reason != error.reason:
            _clear_gauge(last.error)
        self._held[partition] = _Held(error, delay_s, self._clock() + delay_s)
        metrics.PARTITION_HELD.labels(*_labels(error)).set(1)
        _log.error(
            "a partition can't be read and is held; the others go on",
            topic=partition.topic,
            partition=partition.partition,
            offset=error.offset,
            reason=error.reason,
            error=str(error)[:300],
            next_try_s=delay_s,
            if_it_can_not_be_mended="stop the group's workers, run this, and start them: " + self._reset(error),
        )
        return delay_s

    def is_waiting(self, partition: TopicPartition) -> bool:
        """Whether it is held and not to be tried yet."""
        held = self._held.get(partition)
        return held is not None and self._clock() < held.until

    def release(self, partition: TopicPartition) -> None:
        """It can be read again."""
        held = self._held.pop(partition, None)
        if held is not None:
            error = held.error
            _clear_gauge(error)
            _log.warning(
                "a partition that was held can be read again",
                topic=partition.topic,
                partition=partition.partition,
                offsets_not_read=f"{error.resume_at} to {error.offset - 1}" if error.resume_at < error.offset else None,
            )

    def clear(self) -> None:
        """Other workers may own them now."""
        for held in self._held.values():
            _clear_gauge(held.error)
        self._held.clear()

    def _reset(self, error: Unreadable) -> str:
        partition, settings = error.partition, self._settings
        return (
            f"kafka-consumer-groups.sh --bootstrap-server {settings.bootstrap_servers} --group {settings.group} "
            f"--topic {partition.topic}:{partition.partition} --reset-offsets --to-offset {error.resume_at} --execute"
        )


def _labels(error: Unreadable) -> tuple[str, str, str]:
    return error.partition.topic, str(error.partition.partition), error.reason


def _clear_gauge(error: Unreadable) -> None:
    metrics.PARTITION_HELD.remove(*_labels(error))
