"""What aiokafka's fetcher holds: taken within a bound of bytes, a partition at a time.

Its `getmany` knows no bytes, and drops what is held of a paused partition, to be fetched again.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import FetchResult

from moderation_service.kafka.sizes import bytes_of

_NOWHERE = frozenset({TopicPartition("", -1)})  # none at all would be taken for all


class FetchBuffer:
    """A consumer's fetched records. They wait compressed, until they are taken."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Nothing is fetched yet."""
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
