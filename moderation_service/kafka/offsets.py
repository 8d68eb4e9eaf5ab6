"""A group's committed offset with the note that was committed beside it; aiokafka's `committed` leaves that out."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

_NONE = -1


async def committed(consumer: AIOKafkaConsumer, partition: TopicPartition) -> OffsetAndMetadata | None:
    """None where there is none. Raises aiokafka's errors where the broker does not answer."""
    found = await consumer._coordinator.fetch_committed_offsets([partition])  # noqa: SLF001 - see above
    offset: OffsetAndMetadata | None = found.get(partition)
    return None if offset is None or offset.offset == _NONE else offset
