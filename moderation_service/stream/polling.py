"""Polling the consumer: it never waits long, and no record that aiokafka can't decode holds its partition."""

import asyncio
import time
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from moderation_service.errors import Fatal
from moderation_service.kafka.salvage import salvage
from moderation_service.kafka.sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.lane import Lane

_POLL_MS = 200
_POLL_LIMIT_S = 1.0  # getmany waits for a rebalance to end, however long that takes
_CAREFUL_POLL_MS = 20
_CAREFUL_S = 30.0
_ERRORS_BORNE = 60
_UNMENDABLE_BORNE = 5
_PAUSE_S = 0.5
_log = structlog.get_logger(__name__)
Batches = dict[TopicPartition, list[ConsumerRecord]]


class Polling:
    """Knows how the last polls went.

    After a record that can't be decoded it polls partition by partition, a record at a time, for a while: so the bad
    record is come to exactly, and nothing read in the same call is lost with it.
    """

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer) -> None:
        """All went well so far."""
        self._settings = settings
        self._consumer = consumer
        self._careful_until = 0.0
        self._errors = 0

    async def poll(self, lanes: Iterable[Lane]) -> Batches | None:
        """What has arrived, maybe nothing. None after an error: what was not taken in must be fetched again.

        Raises Fatal for an error that stays: soon where waiting mends nothing, late where a broker may come back.
        """
        try:
            async with asyncio.timeout(_POLL_LIMIT_S):  # cancels before records are taken out, so none is lost
                found = await self._careful(lanes) if self._is_careful else await self._quick()
        except TimeoutError:
            return {}
        except UnicodeDecodeError:
            self._careful_until = time.monotonic() + _CAREFUL_S
            return None
        except Exception as error:
            self._errors += 1
            mendable = isinstance(error, KafkaError) and not isinstance(error, CorruptRecordException)
            if self._errors >= (_ERRORS_BORNE if mendable else _UNMENDABLE_BORNE):
                msg = f"the input topic can't be read: {type(error).__name__}: {error}"
                raise Fatal(msg) from error
            _log.warning("the consumer failed", error=f"{type(error).__name__}: {error}"[:300], times=self._errors)
            await asyncio.sleep(_PAUSE_S)
            return None
        self._errors = 0
        return found

    @property
    def _is_careful(self) -> bool:
        return time.monotonic() < self._careful_until

    async def _quick(self) -> Batches:
        return dict(await self._consumer.getmany(timeout_ms=_POLL_MS))

    async def _careful(self, lanes: Iterable[Lane]) -> Batches:
        for lane in lanes:
            partition = lane.partition
            if not lane.is_open or lane.waiting or partition not in self._consumer.assignment():
                continue
            try:
                found = await self._consumer.getmany(partition, timeout_ms=_CAREFUL_POLL_MS, max_records=1)
            except UnicodeDecodeError:
                saved = await salvage(self._consumer, partition, lane.position, record_limit(self._settings))
                if saved is None:
                    raise
                records, after = saved
                _log.warning("a header's name is not UTF-8", partition=partition.partition, offset=lane.position)
                self._consumer.seek(partition, after)
                self._careful_until = 0.0
                return {partition: records}
            if found:
                return dict(found)
        return {}
