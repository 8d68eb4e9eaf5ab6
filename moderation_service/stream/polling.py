"""Bounded polling of the consumer: short waits, retries of passing errors; errors that stay are fatal."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from moderation_service.errors import Fatal
from moderation_service.kafka.corrupt_batches import CorruptBatch
from moderation_service.kafka.sizes import bytes_of
from moderation_service.stream.read_ahead import ReadAhead

_WAIT_S = 0.2
_WAIT_FOR_ROOM_S = 0.02  # while some partition has a queue: when it is gone, more is to be read soon
_POLL_LIMIT_S = 1.0  # the fetcher waits for a rebalance to end, however long that takes
_ERRORS_BORNE = 60
_UNMENDABLE_BORNE = 5
_UNMENDABLE_WITHIN_S = 60.0
_PAUSE_S = 0.5
_BREATH_S = 0.005
_log = structlog.get_logger(__name__)
Batches = dict[TopicPartition, list[ConsumerRecord]]


class Source(Protocol):
    """Fetched records; see FetchBuffer."""

    @property
    def partitions(self) -> list[TopicPartition]: ...  # noqa: D102

    async def first(self, among: AbstractSet[TopicPartition], wait_s: float) -> ConsumerRecord | None: ...  # noqa: D102

    def take(self, partition: TopicPartition, records: int, size: int) -> Iterator[ConsumerRecord]: ...  # noqa: D102


class Polling:
    """Knows how the last polls went."""

    def __init__(
        self,
        source: Source,
        out_of_range: Callable[[Mapping[TopicPartition, int]], None],
        corrupt: Callable[[CorruptBatch], None],
    ) -> None:
        """All went well so far. `out_of_range` hears of offsets not in the log, `corrupt` of broken batches."""
        self._source = source
        self._out_of_range = out_of_range
        self._corrupt = corrupt
        self._errors = 0
        self._unmendable: list[float] = []

    async def poll(self, among: AbstractSet[TopicPartition], ahead: ReadAhead, *, backpressure: bool) -> Batches | None:
        """What has arrived of these partitions, as much as may be read ahead; maybe nothing.

        None after an error: what was not taken in must be fetched again.

        Raises Fatal for an error that stays: soon where waiting mends nothing, late where a broker may come back.
        """
        try:
            async with asyncio.timeout(_POLL_LIMIT_S):  # cancels before a record is taken out, so none is lost
                first = await self._source.first(among, _WAIT_FOR_ROOM_S if backpressure else _WAIT_S)
            found = {} if first is None else self._taken(first, among, ahead)
        except TimeoutError:
            return {}
        except NoOffsetForPartitionError:  # its processor is not open yet, and seeks
            found = {}
        except OffsetOutOfRangeError as error:
            self._out_of_range(error.args[0])
            found = {}
        except CorruptBatch as error:
            self._corrupt(error)
            return None
        except Exception as error:  # noqa: BLE001 - whatever aiokafka raises, the loop goes on or ends loudly
            self._count(error)
            _log.warning("the consumer failed", error=f"{type(error).__name__}: {error}"[:300], times=self._errors)
            await asyncio.sleep(_PAUSE_S)
            return None
        self._errors = 0
        if not found:
            await asyncio.sleep(_BREATH_S)  # whatever the fetcher did: judging and heartbeats have their turn
        return found

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
