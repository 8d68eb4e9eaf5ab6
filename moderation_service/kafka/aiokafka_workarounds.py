"""Work-arounds for aiokafka 0.14, its latest release, all in one place.

Each names what is wrong, the upstream issue where there is one, and when it can go.

- `ended_task`: a consumer whose fetcher died finds nothing for ever and raises nothing. Goes with
  https://github.com/aio-libs/aiokafka/issues/983.
- `force_close`: `stop()` may hang while a broker is away, and its tasks go on trying. Goes with
  https://github.com/aio-libs/aiokafka/issues/773.
- `name_corrupt_batches`: what the decoder raises comes from a poll of all partitions, and drops the records that
  precede the batch. Here those are given first, and the batch is a `CorruptBatch`. Goes with
  https://github.com/aio-libs/aiokafka/issues/321.
- `FetchBuffer`: `getmany` has no limit by partition or in bytes, and drops what it holds of a paused partition. Goes
  when https://github.com/aio-libs/aiokafka/issues/525 brings such limits.
- `bound_batches`: a batch is decompressed whole, whatever its size, and a header name that is not UTF-8 fails for ever.
  Here a batch inflates to a bound; what lies behind it, and a value larger than a record may be, is a `PartialValue`.
  cramjam can't decompress in pieces, but writes into a buffer of a given size until that is full. No issue upstream
  yet: goes when aiokafka has a limit of decompressed bytes and decodes header names leniently.
- `limit_log_rate`: every retry is logged while a broker is away. Goes with
  https://github.com/aio-libs/aiokafka/issues/1020.
- `committed`: OffsetFetch v3 can't require a stable offset (KIP-447), and brokers before 3.9.1 may start a partition's
  next producer before the last transaction's offset is visible (https://issues.apache.org/jira/browse/KAFKA-17507). The
  error of the whole response is ignored too: a loading coordinator reads as "nothing committed". No issue upstream yet:
  goes when aiokafka speaks OffsetFetch v7, as kafka-python does (https://github.com/dpkp/kafka-python/pull/3023).
"""

import asyncio
import hashlib
import logging
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import islice
from typing import Any, Self, SupportsIndex, overload

import cramjam
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NotCoordinatorForGroupError,
    UnsupportedCodecError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchRequest_v3
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint_py
from aiokafka.structs import OffsetAndMetadata

from moderation_service.backoff import Backoff
from moderation_service.contracts.dead_letter import HEAD_BYTES
from moderation_service.kafka.record_sizes import bytes_of

NONE, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)
"""Kafka's numbers."""

_FIRST_RATIO, _GROWTH = 8, 8
_GZIP_FRAMED = 31  # zlib's wbits
_XERIAL, _XERIAL_HEADER_BYTES = b"\x82SNAPPY\0", 16  # of Java's producers: blocks, each after its length
_FULL = "failed to write whole buffer"
_TASKS = {
    "fetcher": ("_fetcher", "_fetch_task"),
    "group coordinator": ("_coordinator", "_coordination_task"),
    "metadata": ("_client", "_sync_task"),
}
_log = structlog.get_logger(__name__)
_SETTLE_S = 0.2
_owned: dict[asyncio.AbstractEventLoop, dict[int, list[asyncio.Task[Any]]]] = {}
_NOWHERE = frozenset({TopicPartition("", -1)})  # none at all would be taken for all
_EVERY_S = 10.0
_NONE = -1
_UNSTABLE_OFFSET_COMMIT = 88
_BACKOFF = Backoff(first_s=0.02, longest_s=0.5)
_warned: set[str] = set()
_HEADER_BYTES = _DefaultRecordBatchPy.HEADER_STRUCT.size
_LENGTH_AT, _ATTRIBUTES_AT, _COUNT_AT = 8, 21, 57
_AFTER_LENGTH = 12


def inflate(codec: int, data: memoryview, most: int) -> tuple[bytearray, bool]:
    """Decompress at most `most` bytes. Also says whether that is all; of raw snappy that is not, nothing is made.

    Raises CorruptRecordException for what can't be decompressed, UnsupportedCodecError for another codec.
    """
    try:
        if codec == _GZIP:
            return _gzip(data, most)
        if codec == _SNAPPY:
            return _snappy(data, most)
        if codec == _LZ4:
            return _into(cramjam.lz4.decompress_into, data, most)
        if codec == _ZSTD:
            return _into(cramjam.zstd.decompress_into, data, most)
    except (cramjam.DecompressionError, zlib.error, struct.error) as error:
        msg = f"a batch can't be decompressed: {error}"
        raise CorruptRecordException(msg) from error
    msg = f"unknown compression codec {codec}"
    raise UnsupportedCodecError(msg)


def _into(decompress: Callable[[memoryview, bytearray], int], data: memoryview, most: int) -> tuple[bytearray, bool]:
    size = min(most, _FIRST_RATIO * len(data))
    while True:
        buffer = bytearray(size)
        try:
            made = decompress(data, buffer)
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
            if size == most:
                return buffer, False
            size = min(most, size * _GROWTH)
        else:
            del buffer[made:]
            return buffer, True


def _gzip(data: memoryview, most: int) -> tuple[bytearray, bool]:
    made, rest = bytearray(), bytes(data)
    while rest:  # a member after the other
        member = zlib.decompressobj(_GZIP_FRAMED)
        made += member.decompress(rest, most - len(made) + 1)
        if len(made) > most:
            del made[most:]
            return made, False
        if not member.eof:
            msg = "gzip: truncated"
            raise zlib.error(msg)
        rest = member.unused_data
    return made, True


def _snappy(data: memoryview, most: int) -> tuple[bytearray, bool]:
    if data[: len(_XERIAL)] != _XERIAL:
        if cramjam.snappy.decompress_raw_len(data) > most:
            return bytearray(), False
        return bytearray(cramjam.snappy.decompress_raw(data)), True
    made, at = bytearray(), _XERIAL_HEADER_BYTES
    while at < len(data):  # a block after the other, each with its length before it
        (size,) = struct.unpack_from(">i", data, at)
        block = data[at + 4 : at + 4 + size]
        if len(made) + cramjam.snappy.decompress_raw_len(block) > most:
            return made, False
        made += cramjam.snappy.decompress_raw(block)
        at += 4 + size
    return made, True


def ended_task(consumer: AIOKafkaConsumer) -> str | None:
    """Which task of a started consumer has ended, and by what error; None while all of them run."""
    for name, (owner, attribute) in _TASKS.items():
        task: Any = getattr(getattr(consumer, owner, None), attribute, None)
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            cause = error and (error.__cause__ or error)
            return f"{name}: {f'{type(cause).__name__}: {cause}' if cause else 'ended without an error'}"
    return None


async def force_close(client: AIOKafkaProducer | AIOKafkaConsumer, timeout_s: float) -> bool:
    """Stop a client within about `timeout_s`, by force if need be. Returns whether it stopped by itself."""
    stopping = asyncio.create_task(client.stop())
    try:
        done, _ = await asyncio.wait({stopping}, timeout=timeout_s)
    except asyncio.CancelledError:
        stopping.cancel()
        _cancel_tasks(client)
        raise
    if not done:
        stopping.cancel()
    elif error := stopping.exception():
        _log.info("a Kafka client failed while closing", error=repr(error))
    elif _stopped_cleanly(client):
        return True
    await _abort(client, stopping)
    return stopping.done() and not stopping.cancelled() and stopping.exception() is None


def _stopped_cleanly(client: object) -> bool:
    """Whether a producer that stopped well has no task left: its sender waits for them, unless it failed before."""
    sender = getattr(getattr(client, "_sender", None), "sender_task", None)
    return sender is not None and (sender.cancelled() or sender.exception() is None)


async def _abort(client: object, stopping: asyncio.Task[None]) -> None:
    ended = [*_cancel_tasks(client), stopping]
    await asyncio.wait(ended, timeout=_SETTLE_S)  # at once where all went well: only `stopping` is there, and done
    # a task that swallowed the first cancellation to wait for another one
    again = [task for task in ended if not task.done()]
    for task in again:
        task.cancel()
    if again:
        await asyncio.wait(again, timeout=_SETTLE_S)
    for future in (*ended, *_failed_futures(client)):
        if future.done() and not future.cancelled():
            future.exception()  # seen, or asyncio complains that nobody looked


def _cancel_tasks(client: object) -> list[asyncio.Task[Any]]:
    """Close the connections and cancel the tasks that a client's parts began; gives the tasks."""
    parts = _parts(client)
    for part in parts:
        for connection in list(getattr(part, "_conns", {}).values()):
            connection.close()
    owned = _tasks_by_owner()
    own = [task for part in parts for task in owned.get(id(part), ())]
    for task in own:
        task.cancel()
    return own


def _parts(client: object) -> list[object]:
    """The objects of aiokafka whose coroutines run as tasks of their own."""
    names = ("client", "_client", "_sender", "_message_accumulator", "_coordinator", "_fetcher")
    return [part for name in names if (part := getattr(client, name, None)) is not None]


def _failed_futures(client: object) -> Iterator[asyncio.Future[None]]:
    """The futures of a producer that hold the error where it was fenced, and that nobody waits for."""
    waiter = getattr(getattr(client, "_txn_manager", None), "_transaction_waiter", None)
    if waiter is not None:
        yield waiter
    batches = getattr(getattr(client, "_message_accumulator", None), "_batches", {})
    for queue in batches.values():
        for batch in queue:
            yield batch._drain_waiter  # noqa: SLF001 - aiokafka keeps them to itself


def _tasks_by_owner() -> dict[int, list[asyncio.Task[Any]]]:
    """The tasks by the id of the object whose coroutine they run; looked for once for all that close together."""
    loop = asyncio.get_running_loop()
    if loop not in _owned:
        found = _owned[loop] = defaultdict(list)
        for task in asyncio.all_tasks():
            frame = getattr(task.get_coro(), "cr_frame", None)
            if frame is not None:
                found[id(frame.f_locals.get("self"))].append(task)
        loop.call_soon(_owned.pop, loop)
    return _owned[loop]


class CorruptBatch(Exception):  # noqa: N818 - as aiokafka's
    """The batch of `partition` at `offset` can't be read; the next one begins at `next_offset`, as far as is known."""

    def __init__(self, partition: TopicPartition, offset: int, next_offset: int, cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.partition = partition
        self.offset = offset
        self.next_offset = next_offset


def name_corrupt_batches() -> None:
    """Let every consumer of this process raise CorruptBatch."""
    fetcher.PartitionRecords = _PartitionRecords


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition in one answer."""

    _given = False

    def __next__(self) -> Any:  # noqa: ANN401
        try:
            record = super().__next__()
        except StopIteration:
            raise
        except Exception as error:
            if self._given:  # the next fetch begins with what can't be read
                raise StopIteration from None
            offset = self.next_fetch_offset
            raise CorruptBatch(self._tp, offset, max(self._records.next_offset, offset + 1), error) from error
        self._given = True
        return record


class FetchBuffer:
    """A consumer's fetched records. They wait compressed, until they are taken."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def first(self, among: AbstractSet[TopicPartition], wait_s: float) -> ConsumerRecord | None:
        """One record of one of these partitions; None where none comes in time. Raises what `getmany` does."""
        self._consumer._coordinator.check_errors()  # noqa: SLF001 - as `getmany` does
        with self._consumer._subscription.fetch_context():  # noqa: SLF001
            found = await self._fetcher.fetched_records(among or _NOWHERE, wait_s, max_records=1)
        return next((record for records in found.values() for record in records), None)

    def take(self, partition: TopicPartition, records: int, size: int) -> Iterator[ConsumerRecord]:
        """Give what is there of a partition: so many records at most, and none after so many bytes."""
        result = self._fetched.get(partition)
        while isinstance(result, FetchResult) and records > 0 and size > 0:
            record = result.getone()
            if record is None:
                del self._fetched[partition]
                self._fetcher._notify(self._fetcher._wait_consume_future)  # noqa: SLF001 - let it fetch more
                break
            records, size = records - 1, size - bytes_of(record)
            yield record

    @property
    def partitions(self) -> list[TopicPartition]:
        """Those of which something is there, or an error."""
        return list(self._fetched)

    @property
    def held_bytes(self) -> int:
        """The memory of what is there: the brokers' answers, and the batches that are being read."""
        results = (found for found in self._fetched.values() if isinstance(found, FetchResult) and found.has_more())
        return sum(found._partition_records._records.held_bytes for found in results)  # noqa: SLF001 - BoundedRecords

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that is read next; it passes markers of transactions, and aborted records."""
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001 - `position` may wait
        state = assignment.state_value(partition)
        return state.position if state is not None and state.has_valid_position else None

    @property
    def _fetcher(self) -> Any:  # noqa: ANN401
        return self._consumer._fetcher  # noqa: SLF001 - there is no other way to it

    @property
    def _fetched(self) -> dict[TopicPartition, object]:
        fetched: dict[TopicPartition, object] = self._fetcher._records  # noqa: SLF001
        return fetched


class _LogRateLimit(logging.Filter):
    """Lets a message pass that was not logged lately, whatever its arguments; says how many it kept back."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now, kind = time.monotonic(), str(record.msg)
        last, kept_back = self._last.get(kind, (-_EVERY_S, 0))
        if now - last < _EVERY_S:
            self._last[kind] = last, kept_back + 1
            return False
        self._last[kind] = now, 0
        if kept_back:
            record.msg = f"{record.getMessage()} ({kept_back} more like it)"
            record.args = ()
        return True


def limit_log_rate() -> None:
    """Let one warning or error of a kind through in ten seconds, of each of aiokafka's loggers."""
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "aiokafka"]:
        logger = logging.getLogger(name)
        if not any(isinstance(present, _LogRateLimit) for present in logger.filters):
            logger.addFilter(_LogRateLimit())


class UnstableOffsetError(KafkaError):  # type: ignore[misc]
    """UNSTABLE_OFFSET_COMMIT: a transaction of the group has an offset for the partition, and is not finished."""

    retriable = True


async def committed(consumer: AIOKafkaConsumer, partition: TopicPartition, *, stable: bool) -> OffsetAndMetadata | None:
    """None where nothing is committed. With `stable` an unfinished transaction's offset is waited for, without end.

    Raises aiokafka's errors where the broker refuses.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - aiokafka has no public way
    where = [(partition.topic, [partition.partition])]
    request = (_StableOffsetFetch if stable else OffsetFetchRequest)(coordinator.group_id, where)
    failures = 0
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            response = await coordinator._send_req(request)  # noqa: SLF001 - as above
            found = _offset_in(response)
        except NotCoordinatorForGroupError:
            coordinator.coordinator_dead()
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            if stable and response.API_VERSION < _Response.API_VERSION:
                _warn_of_old_broker(coordinator.group_id)
            return found
        failures += 1
        await _BACKOFF.wait(failures)


def _offset_in(response: Response) -> OffsetAndMetadata | None:
    """The offset of the one partition asked for. Raises the error that the response holds."""
    _raise(response.error_code)
    ((_, ((_, offset, *rest), *_), *_),) = response.topics
    *_, metadata, error_code = [field for field in rest if not isinstance(field, dict)]  # but for tagged fields
    _raise(error_code)
    return None if offset == _NONE else OffsetAndMetadata(offset, metadata or "")


def _raise(code: int) -> None:
    if code == _UNSTABLE_OFFSET_COMMIT:
        raise UnstableOffsetError
    if code:
        raise for_code(code)


def _warn_of_old_broker(group: str) -> None:
    if group not in _warned:
        _warned.add(group)
        _log.warning(
            "the broker can't be asked for stable offsets (OffsetFetch v7, Kafka 2.5): "
            "after a rebalance some posts may get two verdicts; upgrade the broker",
            group=group,
        )


_NAME, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)
_OFFSET = (("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _NAME), ("error_code", Int16))


class _Response(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("topics", CompactArray(("topic", _NAME), ("partitions", CompactArray(*_OFFSET, _TAGS)), _TAGS)),
        ("error_code", Int16),
        _TAGS,
    )


class _OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc] # noqa: N801 - as aiokafka names them
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("group", _NAME),
        ("topics", CompactArray(("topic", _NAME), ("partitions", CompactArray(Int32)), _TAGS)),
        ("require_stable", Boolean),
        _TAGS,
    )


class _StableOffsetFetch(Request[OffsetFetchRequest_v3 | _OffsetFetchRequest_v7]):  # type: ignore[misc]
    """v7 where the broker speaks it."""

    API_KEY = 9

    def __init__(self, group: str, partitions: Sequence[tuple[str, Sequence[int]]]) -> None:
        self._group, self._partitions = group, partitions

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        if request_struct_class is _OffsetFetchRequest_v7:
            return _OffsetFetchRequest_v7(self._group, [(*named, {}) for named in self._partitions], True, {})
        return OffsetFetchRequest_v3(self._group, self._partitions)


class PartialValue(bytes):
    """The beginning of a value that is too large to be held; the whole's `size` and `sha256` where they are known."""

    size: int | None
    sha256: str | None

    def __new__(cls, head: bytes, size: int | None, sha256: str | None) -> Self:
        """Hold the first bytes alone."""
        self = super().__new__(cls, head[:HEAD_BYTES])
        self.size, self.sha256 = size, sha256
        return self

    @classmethod
    def of(cls, value: bytes) -> Self:
        """Let go of all but the beginning of a value."""
        return cls(value, len(value), hashlib.sha256(value).hexdigest())


def bound_batches(max_record_bytes: int, max_batch_bytes: int) -> None:
    """Let every consumer of this process read within these bounds; the last call's count for what comes then."""
    fetcher.MemoryRecords = partial(BoundedRecords, max_record_bytes, max_batch_bytes)


class BoundedRecords(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of one answer of a broker; after as much as a record may be, the rest is fetched again.

    An answer without one whole batch is corrupt, for a broker gives one at least: its first length is wrong.
    """

    def __init__(self, max_record_bytes: int, max_batch_bytes: int, data: bytes) -> None:
        super().__init__(data)
        self._limits = max_record_bytes, max_batch_bytes
        self._read = 0
        self._batch: _Batch | None = None
        self._begun = False
        self.next_offset = -1  # after the last batch that was begun

    @property
    def held_bytes(self) -> int:
        """Memory that is taken: the answer, and the batch that is being read."""
        return int(self.size_in_bytes()) + (self._batch.inflated if self._batch else 0)

    def has_next(self) -> bool:
        """Whether another batch is to be read."""
        inflated = self._batch.inflated if self._batch else 0
        if not self._begun and self.size_in_bytes() > 0:
            return True
        return self._read + inflated <= self._limits[0] and super().has_next()

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka's batches, or ours around one
        """Read the next one lazily."""
        self._read += self._batch.inflated if self._batch else 0
        self._begun = True
        self._batch, raw, batch = None, self._next_slice, super().next_batch()
        if batch is None:
            msg = "the length of the batch is wrong"
            raise CorruptRecordException(msg)
        if isinstance(batch, DefaultRecordBatch):
            self.next_offset = batch.next_offset
            self._batch = batch = _Batch(batch, raw, *self._limits)
        return batch


class _Batch:
    """aiokafka's batch, whose records are read within the bounds. Raises as it does for any other fault."""

    def __init__(self, strict: Any, raw: memoryview, max_record_bytes: int, max_batch_bytes: int) -> None:  # noqa: ANN401
        self._strict = strict
        self._raw = raw
        self._max_record_bytes = max_record_bytes
        self._max_batch_bytes = max_batch_bytes
        self.inflated = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._strict, name)

    def __next__(self) -> Any:  # noqa: ANN401 - asked of control batches
        return next(self._strict)

    def __iter__(self) -> Iterator[Any]:
        if self._strict.compression_type == NONE:
            plain, unread = self._raw, iter(())
        else:
            plain, unread = self._decompressed()
        large = len(plain) > self._max_record_bytes
        given = 0
        try:
            for record in DefaultRecordBatch(plain):
                yield self._within(record) if large else record
                given += 1
        except (UnicodeDecodeError, CorruptRecordException):  # by whether aiokafka's extensions are there
            for record in islice(_LenientBatch(plain), given, None):
                yield self._within(record) if large else record
        yield from unread

    def _decompressed(self) -> tuple[memoryview, Iterator[Any]]:
        """The batch without compression, as far as it may inflate; and stand-ins for its records behind that."""
        count = struct.unpack_from(">i", self._raw, _COUNT_AT)[0]
        made, whole = inflate(self._strict.compression_type, self._raw[_HEADER_BYTES:], self._max_batch_bytes)
        self.inflated = len(made)
        read, end = (count, len(made)) if whole else _whole_records(made, count)
        unread = iter(()) if whole else self._unread(_beginning(made, end), read, count)
        del made[end:]
        made[:0] = self._raw[:_HEADER_BYTES]
        struct.pack_into(">i", made, _LENGTH_AT, len(made) - _AFTER_LENGTH)
        struct.pack_into(">h", made, _ATTRIBUTES_AT, self._strict.attributes & ~_DefaultRecordBatchPy.CODEC_MASK)
        struct.pack_into(">i", made, _COUNT_AT, read)
        return memoryview(made), unread

    def _unread(self, begun: tuple[bytes | None, PartialValue], read: int, count: int) -> Iterator[Any]:
        for index in range(read, count):
            key, value = begun if index == read else (None, PartialValue(b"", None, None))
            offset = self._strict.next_offset - (count - index)
            yield _DefaultRecordPy(offset, self._strict.max_timestamp, 0, key, value, [])

    def _within(self, record: Any) -> Any:  # noqa: ANN401
        """The same, without what a record may not hold."""
        key, value = record.key or b"", record.value or b""
        size = bytes_of(record)
        if size <= self._max_record_bytes:
            return record
        headers = size - len(key) - len(value)
        return _DefaultRecordPy(
            record.offset,
            record.timestamp,
            record.timestamp_type,
            key if len(key) <= HEAD_BYTES else None,
            PartialValue.of(value),
            record.headers if headers <= HEAD_BYTES else [],
        )


def _whole_records(made: bytearray, count: int) -> tuple[int, int]:
    """How many records are there whole, and where they end."""
    read = end = 0
    while read < count:
        try:
            size, begin = decode_varint_py(made, end)
        except IndexError:
            break
        if size < 0 or begin + size > len(made):
            break
        read, end = read + 1, begin + size
    return read, end


def _beginning(made: bytearray, at: int) -> tuple[bytes | None, PartialValue]:
    """The key and the value's beginning of a record that is cut off, as far as they are there."""
    try:
        for _ in range(4):  # length, attributes, timestamp, offset
            _, at = decode_varint_py(made, at)
        key_size, at = decode_varint_py(made, at)
        key = bytes(made[at : at + key_size]) if 0 <= key_size <= HEAD_BYTES else None
        size, at = decode_varint_py(made, at + max(0, key_size))
    except IndexError:
        return None, PartialValue(b"", None, None)
    return key, PartialValue(bytes(made[at : at + max(0, min(size, HEAD_BYTES))]), size, None)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose headers may have names that are not UTF-8: they are read with escapes."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    """Its slices decode without ever failing."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytearray: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytearray:
        found = super().__getitem__(key)
        return _Name(found) if isinstance(found, bytearray) else found


class _Name(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del errors
        return super().decode(encoding, "backslashreplace")
