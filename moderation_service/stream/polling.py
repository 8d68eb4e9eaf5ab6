"""Polling the consumer: it never waits long, never returns without having waited, and gives up on what stays."""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from moderation_service.errors import Fatal
from moderation_service.kafka.corrupt_batches import CorruptBatch

_POLL_MS = 200
_POLL_LIMIT_S = 1.0  # getmany waits for a rebalance to end, however long that takes
_ERRORS_BORNE = 60
_UNMENDABLE_BORNE = 5
_UNMENDABLE_WITHIN_S = 60.0
_PAUSE_S = 0.5
_BREATH_S = 0.005
_log = structlog.get_logger(__name__)
Batches = dict[TopicPartition, list[ConsumerRecord]]


class Polling:
    """Knows how the last polls went."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        out_of_range: Callable[[Mapping[TopicPartition, int]], None],
        corrupt: Callable[[CorruptBatch], None],
    ) -> None:
        """All went well so far. `out_of_range` hears of offsets not in the log, `corrupt` of broken batches."""
        self._consumer = consumer
        self._out_of_range = out_of_range
        self._corrupt = corrupt
        self._errors = 0
        self._unmendable: list[float] = []

    async def poll(self) -> Batches | None:
        """What has arrived, maybe nothing. None after an error: what was not taken in must be fetched again.

        Raises Fatal for an error that stays: soon where waiting mends nothing, late where a broker may come back.
        """
        try:
            async with asyncio.timeout(_POLL_LIMIT_S):  # cancels before records are taken out, so none is lost
                found = dict(await self._consumer.getmany(timeout_ms=_POLL_MS))
        except TimeoutError:
            return {}
        except NoOffsetForPartitionError:  # its lane is not open yet, and seeks
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
            await asyncio.sleep(_BREATH_S)  # whatever getmany did: judging and heartbeats have their turn
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
