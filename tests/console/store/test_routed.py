"""Posts with the route child_safety: the verdict is kept, and nothing else of the post, in whatever order they come."""

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox as outbox_entries
from moderation_service.console.store import posts, queue, retention, reviews, verdicts
from moderation_service.console.store.ingest import Ingest
from moderation_service.console.store.outbox import OutboxEntry
from moderation_service.console.store.queue import Filters
from moderation_service.console.store.reviews import Decided, Unknown
from moderation_service.console.store.tables import METADATA, outbox
from moderation_service.contracts.enums import ReviewDecision
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import ChildSafetySettings
from tests.console.support import console_settings, shipped_pack
from tests.contracts.examples import CONTENT, verdict

CANARY = "canary-of-the-words"
BYTES = os.urandom(96 * 1024)  # more than a page of either database
IMAGE = base64.b64encode(BYTES).decode()
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Records:
    """Records as they are read from Kafka, one after the other."""

    def __init__(self, context: ConsoleContext) -> None:
        self._kafka, self._ingest, self._offset = context.settings.kafka, Ingest(context), 0

    async def post(self, revision: int = 2) -> None:
        given = Post(
            post_id="p-17",
            revision=revision,
            text=f"see this {CANARY}",
            images=(ImageRef(data=IMAGE),),
            metadata={"name": CANARY},
        )
        await self._write(self._kafka.input_topic, given.model_dump_json().encode())

    async def verdict(self, verdict_id: str, **fields: Any) -> None:
        read = CONTENT.model_copy(update={"images": (CONTENT.images[0].model_copy(update={"text": CANARY}),)})
        said = {
            "author_id": CANARY,
            "surface": CANARY,
            "metadata": {"name": CANARY},
            "explanation": CANARY,
            "content": read,
        }
        made = verdict(verdict_id=verdict_id, **{**said, **fields})
        await self._write(self._kafka.output_topic, made.to_json())

    async def delete(self) -> None:
        await self._write(self._kafka.output_topic, None)

    async def _write(self, topic: str, value: bytes | None) -> None:
        record: Any = _Record(topic, 0, self._offset, b"p-17", value)
        self._offset += 1
        await self._ingest.write([record])


class _Record:
    def __init__(self, *fields: Any) -> None:
        self.topic, self.partition, self.offset, self.key, self.value = fields


@pytest.fixture
def context(database: AsyncEngine, database_url: str) -> ConsoleContext:
    return ConsoleContext(console_settings(database_url), database, shipped_pack())


async def test_nothing_of_the_post_is_in_any_table_or_file_whatever_came_first(
    context: ConsoleContext, database: AsyncEngine
) -> None:
    records = Records(context)
    await records.post()
    await records.verdict("earlier", decision="review")
    await records.post()  # published again: the rows before are replaced
    assert await everywhere(database) & {CANARY, IMAGE}
    await records.verdict("routed", route="child_safety")
    assert await everywhere(database) == set()
    await records.post()
    await records.post(1)
    assert await everywhere(database) == set()


async def test_the_verdict_is_seen_by_those_alone_who_may(context: ConsoleContext, database: AsyncEngine) -> None:
    records = Records(context)
    await records.verdict("earlier", decision="review")
    await records.verdict("routed", route="child_safety", decision="review")
    assert await verdicts.listed(database, limit=9) == []
    assert await verdicts.of_post(database, "p-17") == []
    assert await verdicts.by_id(database, "routed") is None
    assert await queue.listed(database, Filters(), limit=9, now=NOW) == []
    found = await verdicts.by_id(database, "routed", routed=True)
    assert found is not None
    assert (found.verdict.route, found.verdict.metadata, found.newest) == ("child_safety", {}, True)
    assert [one.verdict.verdict_id for one in await verdicts.listed(database, limit=9, routed=True)] == [
        "routed",
        "earlier",
    ]
    decided = Decided(ReviewDecision.BLOCK)
    with pytest.raises(Unknown):
        await reviews.decide(context, "ann", "routed", decided)
    await reviews.decide(context, "eve", "routed", decided, routed=True)
    assert [one async for one in reviews.exported(database)] == []
    await retention.forget_routed(context, NOW + timedelta(days=context.settings.console.retention_days + 1))
    assert [one async for one in reviews.exported(database)] == []


async def test_a_verdict_on_an_earlier_revision_that_comes_late_is_withheld(
    context: ConsoleContext, database: AsyncEngine
) -> None:
    records = Records(context)
    await records.verdict("routed", route="child_safety", post_revision=2)
    await records.verdict("late", decision="review", post_revision=1)
    assert await verdicts.listed(database, limit=9) == []
    assert await everywhere(database) == set()


async def test_a_hold_that_cannot_be_read_keeps_nobody_from_erasing(
    context: ConsoleContext, database: AsyncEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    context.legal_hold = LegalHold(ChildSafetySettings(hold_path=tmp_path, hold_key=SecretStr(key)))
    records = Records(context)
    await records.verdict("routed", route="child_safety")
    monkeypatch.setattr(context.legal_hold, "is_held", _is_away)
    await records.delete()
    assert await verdicts.by_id(database, "routed", routed=True) is None
    assert await audited(database) == [("erasure.kept_on_hold", "p-17")]


def _is_away(_post_id: str) -> bool:
    raise OSError(116, "Stale file handle")


async def test_a_later_revision_is_a_post_of_its_own(context: ConsoleContext, database: AsyncEngine) -> None:
    records = Records(context)
    await records.verdict("routed", route="child_safety", post_revision=1)
    await records.post(2)
    await records.verdict("later", decision="review", post_revision=2)
    assert (await posts.shown(database, "p-17", 2)) is not None
    assert [job.verdict_id for job in await queue.listed(database, Filters(), limit=9, now=NOW)] == ["later"]


async def test_an_erasure_leaves_the_hold_and_says_so_to_the_auditor_alone(
    context: ConsoleContext, database: AsyncEngine
) -> None:
    records = Records(context)
    await records.verdict("routed", route="child_safety")
    escalation = Record("escalations", b"p-17", b"{}", [])
    async with database.begin() as connection:  # as the API puts it beside a verdict of its own
        await outbox_entries.put(connection, OutboxEntry("escalation-routed", escalation, NOW))
    await records.delete()
    assert await verdicts.by_id(database, "routed", routed=True) is None
    assert await audited(database) == [("erasure.kept_on_hold", "p-17")]
    await records.verdict("plain")
    await records.delete()
    await records.verdict("again", route="child_safety")
    await retention.forget_routed(context, NOW + timedelta(days=context.settings.console.retention_days + 1))
    assert await verdicts.by_id(database, "again", routed=True) is None
    assert await audited(database) == [("erasure.kept_on_hold", "p-17")] * 2


async def audited(database: AsyncEngine) -> list[tuple[str, str]]:
    async with database.connect() as connection:
        values = (await connection.execute(select(outbox.c.value).order_by(outbox.c.number))).scalars()
        return [(entry["action"], entry["target"]) for entry in map(json.loads, values)]


async def everywhere(database: AsyncEngine) -> set[str]:
    """Which of the marks are in a row, or in a file of SQLite's."""
    async with database.connect() as connection:
        shown = [
            str(row).encode() for table in METADATA.sorted_tables for row in await connection.execute(select(table))
        ]
    if database.dialect.name == "sqlite":
        shown += [path.read_bytes() for path in Path(database.url.database or "").parent.glob("*.db*")]
    return {
        mark for mark in (CANARY, IMAGE) for held in shown if mark[:64].encode() in held or mark[-64:].encode() in held
    }
