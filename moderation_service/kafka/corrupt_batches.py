"""Work-around for aiokafka's reader of partitions: an unreadable batch is raised with its partition and its offset.

aiokafka raises whatever its decoder raises, from a poll of all partitions, and drops the records that precede the batch
in the same fetch (aiokafka 0.14). Here those are given first, and the batch is a `CorruptBatch`.
"""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher


class CorruptBatch(Exception):  # noqa: N818 - as aiokafka's
    """The batch of `partition` at `offset` can't be read; the next one begins at `next_offset`, as far as is known."""

    def __init__(self, partition: TopicPartition, offset: int, next_offset: int, cause: Exception) -> None:
        """Tell what the decoder raised."""
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
