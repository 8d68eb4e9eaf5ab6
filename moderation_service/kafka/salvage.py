"""Records that aiokafka refuses to decode: a header whose name is not UTF-8, as some clients can write.

aiokafka raises on it for ever, and the partition would be held. Here its batch is fetched once more and decoded
leniently: the name gets escapes, and the records go on like any other.
"""

import struct
from collections.abc import Iterator
from typing import SupportsIndex, overload

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy

_WAIT_MS, _READ_COMMITTED, _MAGIC_V2 = 500, 1, 2
_BATCH_HEAD = struct.Struct(">qi")  # base offset, bytes that follow
_MAGIC_AT = 16


class _Name(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del errors
        return super().decode(encoding, "backslashreplace")


class _Lenient(bytearray):
    """A buffer whose slices decode without ever failing."""

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytearray: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytearray:
        found = super().__getitem__(key)
        return _Name(found) if isinstance(found, bytearray) else found


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Lenient(self._buffer)


async def salvage(
    consumer: AIOKafkaConsumer, partition: TopicPartition, position: int, max_bytes: int
) -> tuple[list[ConsumerRecord], int] | None:
    """Fetch the first batch from `position` on that can't be decoded; its records, and the offset after it.

    None where all can be decoded. Raises aiokafka's errors where the broker does not answer.
    """
    node = consumer._client.cluster.leader_for_partition(partition)  # noqa: SLF001 - aiokafka has no raw fetch
    wanted = [(partition.topic, [(partition.partition, position, max_bytes)])]
    request = FetchRequest(_WAIT_MS, 1, max_bytes, _READ_COMMITTED, wanted, rack_id="")
    response = await consumer._client.send(node, request)  # noqa: SLF001
    for _, partitions in response.topics:
        for _, _, _, *data in partitions:
            for raw in _batches(bytes(data[-1])):
                if _is_decodable(raw):
                    continue
                batch = _LenientBatch(bytearray(raw))
                if batch.next_offset <= position or not batch.validate_crc():
                    continue
                return [
                    _as_consumed(partition, record) for record in batch if record.offset >= position
                ], batch.next_offset
    return None


def _batches(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _MAGIC_AT < len(data):
        _, length = _BATCH_HEAD.unpack_from(data, at)
        end = at + _BATCH_HEAD.size + length
        if end > len(data) or data[at + _MAGIC_AT] != _MAGIC_V2:
            return
        yield data[at:end]
        at = end


def _is_decodable(raw: bytes) -> bool:
    batch = _DefaultRecordBatchPy(bytearray(raw))
    try:
        return all(record is not None for record in batch)
    except CorruptRecordException:  # what it makes of a UnicodeDecodeError
        return False


def _as_consumed(partition: TopicPartition, record: "_DefaultRecordBatchPy") -> ConsumerRecord:
    sizes = [-1 if part is None else len(part) for part in (record.key, record.value)]
    return ConsumerRecord(
        partition.topic,
        partition.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        record.checksum,
        *sizes,
        tuple(record.headers),
    )
