"""Where reading goes on: kept with what was read, so that both are written or neither."""

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store.tables import offsets
from moderation_service.kafka.topic_consumer import Offsets


class OffsetConflict(Exception):  # noqa: N818 - a fate, not a fault
    """Another console wrote what we read."""


async def read_offsets(database: AsyncEngine) -> Offsets:
    """Where reading goes on, by topic and partition."""
    async with database.connect() as connection:
        rows = await connection.execute(select(offsets))
        return {(row.topic, row.partition): row.next_offset for row in rows}


async def move_offsets(connection: AsyncConnection, before: Offsets, after: Offsets) -> None:
    """Move the offsets on. Raises Elsewhere where they are not what they were."""
    for (topic, partition), end in sorted(after.items()):
        if (known := before.get((topic, partition))) is None:
            try:
                async with connection.begin_nested():
                    row = {"topic": topic, "partition": partition, "next_offset": end}
                    await connection.execute(insert(offsets).values(row))
            except IntegrityError:
                raise OffsetConflict from None
            continue
        at = (offsets.c.topic == topic, offsets.c.partition == partition, offsets.c.next_offset == known)
        if not (await connection.execute(update(offsets).where(*at).values(next_offset=end))).rowcount:
            raise OffsetConflict
