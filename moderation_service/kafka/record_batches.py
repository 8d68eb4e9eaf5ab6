"""Work-arounds for aiokafka's reader of record batches: bounded decompression, and header names that are not UTF-8.

aiokafka inflates a batch whole, whatever its size, and raises for ever on such a name, which other clients can write.
Here a batch inflates to a bound; what lies behind it, and a value larger than a record may be, is a `PartialValue`.
"""

import hashlib
import struct
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, Self, SupportsIndex, overload

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint_py

from moderation_service.contracts.dead_letter import HEAD_BYTES
from moderation_service.kafka.inflate import NONE, inflate
from moderation_service.kafka.sizes import bytes_of

_HEADER_BYTES = _DefaultRecordBatchPy.HEADER_STRUCT.size
_LENGTH_AT, _ATTRIBUTES_AT, _COUNT_AT = 8, 21, 57
_AFTER_LENGTH = 12


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
        """Nothing is inflated yet."""
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
