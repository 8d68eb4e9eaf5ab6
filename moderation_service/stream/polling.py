"""Bounded polling of the consumer: short waits, limited read-ahead, retries of passing errors.

Errors that stay are fatal, except those of one partition: it is blocked and retried with exponential backoff, while all
others go on.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from moderation_service.backoff import Backoff
from moderation_service.errors import Fatal
from moderation_service.kafka.aiokafka_workarounds import CorruptBatch, FetchBuffer
from moderation_service.kafka.record_sizes import bytes_of
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics

_BACKOFF = Backoff(first_s=1.0, longest_s=60.0, jitter=0.0)
_log = structlog.get_logger(__name__)
Reason = Literal["corrupt_batch", "offset_out_of_range"]
_WAIT_S = 0.2
_WAIT_FOR_ROOM_S = 0.02  # while some partition has a queue: when it is gone, more is to be read soon
_POLL_LIMIT_S = 1.0  # the fetcher waits for a rebalance to end, however long that takes
_ERRORS_BORNE = 60
_UNMENDABLE_BORNE = 5
_UNMENDABLE_WITHIN_S = 60.0
_BREATH_S = 0.005
Batches = dict[TopicPartition, list[ConsumerRecord]]


class ReadAhead:
    """What may be taken in one poll: with what waits already, `posts` and `size` at most, and one record."""

    def __init__(self, posts: int, size: int, processors: int, waiting: Iterable[int]) -> None:
        sizes = list(waiting)
        self._part = max(1, posts // (2 * max(1, processors)))
        self._posts_left = posts // 2 - len(sizes)
        self._size_left = size - sum(sizes)

    def share(self) -> tuple[int, int]:
        """How many records, and of how many bytes, the next partition may give."""
        return max(self._part, self._posts_left // 2), max(0, self._size_left)

    def took(self, posts: int, size: int) -> None:
        """Count what it gave."""
        self._posts_left -= posts
        self._size_left -= size


class Unreadable(Exception):  # noqa: N818 - a fate, not a fault
    """The log of a partition can't be read at `offset`; at `resume_at` it can be, as far as is known."""

    def __init__(self, partition: TopicPartition, reason: Reason, offset: int, resume_at: int, what: str) -> None:
        super().__init__(what)
        self.partition = partition
        self.reason: Reason = reason
        self.offset = offset
        self.resume_at = resume_at


@dataclass(slots=True)
class _Blocked:
    error: Unreadable
    failures: int
    until: float


class BlockedPartitions:
    """Which partitions can't be read, and when each is tried again."""

    def __init__(self, settings: KafkaSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._blocked: dict[TopicPartition, _Blocked] = {}

    def __len__(self) -> int:
        """How many are blocked."""
        return len(self._blocked)

    def block(self, error: Unreadable) -> float:
        """Block its partition; the seconds until it is tried again. Logs how to reset it."""
        partition, last = error.partition, self._blocked.get(error.partition)
        failures = last.failures + 1 if last else 1
        delay_s = _BACKOFF.delay_s(failures)
        if last and last.error.reason != error.reason:
            _clear_gauge(last.error)
        self._blocked[partition] = _Blocked(error, failures, self._clock() + delay_s)
        metrics.PARTITION_HELD.labels(*_labels(error)).set(1)
        _log.error(
            "a partition can't be read and is held; the others go on",
            topic=partition.topic,
            partition=partition.partition,
            offset=error.offset,
            reason=error.reason,
            error=str(error)[:300],
            next_try_s=delay_s,
            recovery_command="stop the group's workers, run this, and start them: " + self._reset(error),
        )
        return delay_s

    def is_waiting(self, partition: TopicPartition) -> bool:
        """Whether it is blocked and not to be tried yet."""
        blocked = self._blocked.get(partition)
        return blocked is not None and self._clock() < blocked.until

    def release(self, partition: TopicPartition) -> None:
        """It can be read again."""
        blocked = self._blocked.pop(partition, None)
        if blocked is not None:
            error = blocked.error
            _clear_gauge(error)
            _log.warning(
                "a partition that was held can be read again",
                topic=partition.topic,
                partition=partition.partition,
                offsets_not_read=f"{error.resume_at} to {error.offset - 1}" if error.resume_at < error.offset else None,
            )

    def clear(self) -> None:
        """Other workers may own them now."""
        for blocked in self._blocked.values():
            _clear_gauge(blocked.error)
        self._blocked.clear()

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


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll found: records, and partitions that can't be read on. `failed`: fetch again what was not taken."""

    batches: Batches = field(default_factory=dict)
    out_of_range: Mapping[TopicPartition, int] = field(default_factory=dict)  # by partition the offset asked for
    corrupt: CorruptBatch | None = None
    failed: bool = False


class Polling:
    """Knows how the last polls went."""

    def __init__(self, source: FetchBuffer, pause_s: float = 0.5) -> None:
        """All went well so far. After an error it waits `pause_s`."""
        self._source = source
        self._pause_s = pause_s
        self._errors = 0
        self._unmendable: list[float] = []

    async def poll(self, among: AbstractSet[TopicPartition], ahead: ReadAhead, *, backpressure: bool) -> Polled:
        """What has arrived of these partitions, as much as may be read ahead; maybe nothing.

        Raises Fatal for an error that stays: soon where waiting mends nothing, late where a broker may come back.
        """
        polled = Polled()
        try:
            async with asyncio.timeout(_POLL_LIMIT_S):  # cancels before a record is taken out, so none is lost
                first = await self._source.first(among, _WAIT_FOR_ROOM_S if backpressure else _WAIT_S)
            if first is not None:
                polled = Polled(self._taken(first, among, ahead))
        except TimeoutError:
            return polled
        except NoOffsetForPartitionError:  # its processor is not open yet, and seeks
            pass
        except OffsetOutOfRangeError as error:
            polled = Polled(out_of_range=error.args[0])
        except CorruptBatch as error:
            return Polled(corrupt=error, failed=True)
        except Exception as error:  # noqa: BLE001 - whatever aiokafka raises, the loop goes on or ends loudly
            self._count(error)
            _log.warning("the consumer failed", error=f"{type(error).__name__}: {error}"[:300], times=self._errors)
            await asyncio.sleep(self._pause_s)
            return Polled(failed=True)
        self._errors = 0
        if not polled.batches:
            await asyncio.sleep(_BREATH_S)  # whatever the fetcher did: judging and heartbeats have their turn
        return polled

    def _taken(self, first: ConsumerRecord, among: AbstractSet[TopicPartition], ahead: ReadAhead) -> Batches:
        """It, what is there behind it, and what is there of the other partitions."""
        found: Batches = {TopicPartition(first.topic, first.partition): [first]}
        ahead.took(1, bytes_of(first))
        for partition in self._source.partitions:
            if partition in among and (records := list(self._source.take(partition, *ahead.share()))):
                found[partition] = found.get(partition, []) + records
                ahead.took(len(records), sum(map(bytes_of, records)))
        return found

    def _count(self, error: Exception) -> None:
        """Raise Fatal for one too many. What can't be mended is counted over polls of other partitions that go well."""
        self._errors += 1
        if not isinstance(error, KafkaError) or isinstance(error, CorruptRecordException):
            now = time.monotonic()
            self._unmendable = [at for at in self._unmendable if now - at < _UNMENDABLE_WITHIN_S] + [now]
        if self._errors >= _ERRORS_BORNE or len(self._unmendable) >= _UNMENDABLE_BORNE:
            msg = f"the input topic can't be read: {type(error).__name__}: {error}"
            raise Fatal(msg) from error
