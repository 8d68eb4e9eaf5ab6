"""Records with a header whose name is not UTF-8, as some clients write: read with escapes in the name.

aiokafka raises on such a record for ever, and its partition would be held. So the consumers read batches through the
classes here: as fast as before, and leniently from the record on that aiokafka refuses.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, SupportsIndex, overload

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def read_leniently() -> None:
    """Let every consumer of this process read so."""
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of one answer of a broker."""

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka's batches, or ours around one
        raw, batch = self._next_slice, super().next_batch()
        return _Batch(batch, raw) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """aiokafka's batch, and the same bytes read leniently where it gives up. Raises as it does for any other fault."""

    def __init__(self, strict: Any, raw: memoryview) -> None:  # noqa: ANN401
        self._strict = strict
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._strict, name)

    def __next__(self) -> Any:  # noqa: ANN401 - asked of control batches
        return next(self._strict)

    def __iter__(self) -> Iterator[Any]:
        given = 0
        try:
            for record in self._strict:
                yield record
                given += 1
        except (UnicodeDecodeError, CorruptRecordException):  # by whether aiokafka's extensions are there
            yield from islice(_LenientBatch(self._raw), given, None)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
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
