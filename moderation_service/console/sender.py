"""The outbox's way to Kafka: each entry is on its topic exactly once, even if the process is killed at any point.

An entry leaves the outbox once Kafka has it. Between the two a kill can come; so whoever begins to send first ends, by
the transactional id that all senders share, what another one had begun, and then looks on the topics for the entries
that are still in the outbox.
"""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox, reviews
from moderation_service.console.store.leader_lock import turn
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import read_since, transactions

_TOGETHER = 20  # entries in a transaction: of the largest there may be, as much as fits in memory
_LOOK_S = 5.0  # how often the table is looked at, as other processes put entries in it too
_AGAIN_S = 5.0
_CLOCKS_S = 3600.0  # by how much the clocks of two machines may differ

log = structlog.get_logger(__name__)


class Sender:
    """Sends what is in the outbox; of several consoles on one database one does. What holds it is in `parts.held`."""

    def __init__(self, parts: ConsoleContext) -> None:
        """Does nothing yet."""
        self._parts = parts
        self._database = parts.database
        self._kafka = parts.settings.kafka
        once = self._kafka.delivery == "exactly_once"
        self._name = f"{self._kafka.group}.console.outbox" if once else None
        self._held: str | None = None

    async def run(self) -> None:
        """Send what is due, until cancelled. While Kafka or the database is away all waits, and is tried again."""
        while True:
            try:
                async with turn(self._database, "outbox"):
                    await self._due()
                    await self._send()
            except Fatal as error:
                self._hold(f"outbox: {error}")
            except (SQLAlchemyError, OSError) as error:  # whose words may quote a row
                self._hold(f"outbox: the database fails ({type(error).__name__})")
            # two that fence each other must not march in step
            await asyncio.sleep(_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, hides nothing

    async def _send(self) -> None:
        async with transactions(self._kafka, self._name) as write:
            await self._drop_sent()
            while True:
                if entries := await outbox.take(self._database, _now(), _TOGETHER):
                    await write([entry.record for entry in entries])
                    await self._done([entry.entry_id for entry in entries])
                self._hold(None)
                await self._due()

    async def _drop_sent(self) -> None:
        """What an earlier sender wrote and did not live to drop."""
        of_topic: dict[str, dict[str, datetime]] = {}
        for topic, entry_id, due_at in await outbox.waiting(self._database, _now()):
            of_topic.setdefault(topic, {})[entry_id] = due_at
        for topic, entries in of_topic.items():
            since = min(entries.values()) - timedelta(seconds=_CLOCKS_S)  # none was sent before it was due
            found = [
                entry_id
                async for record in read_since(self._kafka, topic, since)
                if (entry_id := dict(record.headers).get("ce_id", b"").decode(errors="replace")) in entries
            ]
            await self._done(found)

    async def _done(self, entry_ids: list[str]) -> None:
        await outbox.drop(self._database, entry_ids)
        await reviews.count(self._database, entry_ids)

    def _hold(self, why: str | None) -> None:
        if why and self._held is None:
            log.warning("the outbox waits", why=why)
        if self._held is not None:
            self._parts.held.discard(self._held)
            if why is None:
                log.info("the outbox is sent again")
        if why:
            self._parts.held.add(why)
        self._held = why

    async def _due(self) -> None:
        """Wait until there is something to send."""
        while True:
            self._parts.put_in_outbox.clear()
            first = await outbox.first_due(self._database)
            left = _LOOK_S if first is None else (first - _now()).total_seconds()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._parts.put_in_outbox.wait()


def _now() -> datetime:
    return datetime.now(UTC)
