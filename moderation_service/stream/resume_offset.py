"""Resume offset of a partition: the committed offset; where the log starts later, there, and never silently.

A loss is noted beside the committed offset. So it outlives restarts and goes with the partition, until the setting
`kafka.acknowledged_loss_offsets` says that it is known.
"""

import re
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka.offsets import committed
from moderation_service.settings import KafkaSettings
from moderation_service.stream.crash_guard import CrashNote

_NOTE = re.compile(r"lost below (\d+)")


@dataclass(frozen=True, slots=True)
class ResumeOffset:
    """An offset; whether it is committed already; the note for every commit; how many offsets before it are lost.

    `crash` is what the last owner noted of itself; `lag` is how far the log goes on, where that owner died.
    """

    offset: int
    pinned: bool = True
    note: str = ""
    lost: int = 0
    crash: CrashNote = field(default_factory=CrashNote)
    lag: int = 0


async def resume_offset_of(
    settings: KafkaSettings, consumer: AIOKafkaConsumer, partition: TopicPartition, *, opening: bool
) -> ResumeOffset:
    """Ask the broker. The log's own start matters only when a partition is `opening`: later its records are in memory.

    Raises aiokafka's errors where the broker does not answer.
    """
    found = await committed(consumer, partition, stable=settings.delivery == "exactly_once")
    if found is None:
        edge = consumer.end_offsets if settings.auto_offset_reset == "latest" else consumer.beginning_offsets
        return ResumeOffset((await edge([partition]))[partition], pinned=False)
    known = settings.acknowledged_loss(partition.topic, partition.partition)
    if opening:
        begin: int = (await consumer.beginning_offsets([partition]))[partition]
        if found.offset < begin:
            note = f"lost below {begin}" if known < begin else ""
            return ResumeOffset(begin, pinned=False, note=note, lost=begin - found.offset)
    noted = _NOTE.search(found.metadata)
    note = noted[0] if noted and known < int(noted[1]) else ""
    return ResumeOffset(found.offset, note=note, crash=CrashNote.of(found.metadata))
