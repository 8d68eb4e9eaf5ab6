"""A group coordinator that is kept busy: one partition of offsets, and thousands of other groups that it looks through.

The broker looks for expired offsets on the thread that makes a finished transaction's offsets visible. So an offset is
often not visible yet when the partition's next owner asks for it.
"""

import asyncio

from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.commit import OffsetCommitRequest

from moderation_service.kafka import clients, topics
from tests.stream.support import eventually, kafka_settings

BUSY = {"offsets.topic.num.partitions": "1", "offsets.retention.check.interval.ms": "500"}
GROUPS = 3000
_TOGETHER = 100


async def make_groups(address: str, replication: int) -> None:
    """Give the coordinator other groups, each with an offset."""
    settings = kafka_settings(address, "others", request_timeout_s=60.0)
    await topics.create(settings, 1, replication)
    consumer = clients.consumer(settings, group=settings.group)
    await consumer.start()
    try:
        await consumer.committed(TopicPartition(settings.input_topic, 0))  # by then the coordinator is loaded
        coordinator = consumer._coordinator.coordinator_id

        async def commit(group: str) -> None:
            request = OffsetCommitRequest(group, -1, "", -1, [(settings.input_topic, [(0, 1, "")])])

            async def done() -> bool:
                answer = await consumer._client.send(coordinator, request, group=ConnectionGroup.COORDINATION)
                ((_, ((_, error),)),) = answer.topics
                return error == 0

            await eventually(done, f"an offset of group {group}", 60)

        for first in range(0, GROUPS, _TOGETHER):
            await asyncio.gather(*(commit(f"other-{number}") for number in range(first, first + _TOGETHER)))
    finally:
        await consumer.stop()
