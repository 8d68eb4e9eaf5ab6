"""A post that is deleted here: its rows go, and nulls tell whoever reads the topics."""

import secrets
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from moderation_service.console.store import outbox, posts, verdicts
from moderation_service.contracts.envelope import Trace, event_headers
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit


async def put(connection: AsyncConnection, kafka: KafkaSettings, post_id: str, trace: Trace, *, actor: str) -> None:
    """Erase all rows of a post, known or not, have a null of its key written to both topics, and put it on record.

    Workers answer the first, behind what they still judge; the second serves where none runs. In the caller's
    transaction; once that is through, `parts.put_in_outbox` should be set.
    """
    await verdicts.alone(connection)
    await posts.erase(connection, [post_id])
    await verdicts.erase(connection, post_id)
    now = datetime.now(UTC)
    told = audit.AuditEntry(actor=actor, action="post.deleted", target=post_id, at=now)
    await outbox.put(connection, outbox.audited(kafka, told))
    for topic in (kafka.input_topic, kafka.output_topic):
        entry_id = secrets.token_hex(16)
        headers = event_headers("deletion", entry_id, post_id, now)
        record = Record(topic, post_id.encode(), None, [*headers, ("traceparent", trace.traceparent.encode())])
        await outbox.put(connection, outbox.OutboxEntry(entry_id, record, now))
