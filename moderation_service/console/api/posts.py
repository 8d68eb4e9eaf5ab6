"""`/v1/posts`: judge a post, kept and published like one that came by Kafka; delete a post wherever it is."""

import hashlib
import secrets
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.api.bodies import check_sizes
from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import idempotency, outbox, posts, tables, verdicts
from moderation_service.console.store.idempotency import Asked, StoredResponse
from moderation_service.console.store.routed import audit_kept
from moderation_service.contracts.base import MAX_ID
from moderation_service.contracts.envelope import Trace, event_headers, verdict_headers
from moderation_service.contracts.escalation import Escalation
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.judging.escalation import escalation_of
from moderation_service.kafka.record_sizes import record_limit, size_of
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry

IDEMPOTENCY_KEY = "Idempotency-Key"
_MAX_KEY = 255


async def judge(call: Call) -> Response:
    """Judge a post now. Its verdict is kept and goes to the output topic, with the id that it has by Kafka too.

    With an Idempotency-Key the same request is answered with the same verdict, and judged once.
    """
    post: Post = call.body
    check_sizes(post.images, call.context.settings.media.max_bytes)
    asked = _asked(call)
    if asked and (before := await idempotency.find(call.context.database, asked)):
        return await _stored_answer(call, before)
    verdict = await call.seated.judged(post, trace_id=call.trace.trace_id, published=True)
    call.tell_of([verdict])
    record = _record(call, post, verdict)
    async with call.context.transaction() as connection:
        kept = await _keep(connection, post, verdict, record)
        if kept is verdict and (escalation := escalation_of(verdict)):
            await outbox.put(connection, _escalated(call, escalation))
        answer = await idempotency.keep(connection, asked, kept.verdict_id) if asked else None
    if answer and answer != StoredResponse(kept.verdict_id, same_request=True):  # the same key came twice at once
        return await _stored_answer(call, answer)
    return Response(kept.to_json(), media_type="application/json")


async def delete(call: Call) -> Response:
    """Delete a post with its verdicts, jobs and reviews. A post that is not known is deleted too.

    A null of its key goes to the input topic and to the output topic. What the law wants kept stays in the legal hold.
    """
    post_id = _post_id(call.request)
    async with call.context.transaction() as connection:
        held = await erase(connection, call.context.settings.kafka, post_id, call.trace, actor=call.actor())
        if held or call.context.legal_hold:
            await audit_kept(connection, call.context, [post_id], actor=call.actor())
    return Response(status_code=204)


async def erase(connection: AsyncConnection, kafka: KafkaSettings, post_id: str, trace: Trace, *, actor: str) -> bool:
    """Erase all rows of a post, known or not, have a null of its key written to both topics, and record it.

    Returns whether it had a route, so that the legal hold has it.

    Workers answer the null on the input topic, behind what they still judge; the other serves if no worker runs.
    """
    await verdicts.alone(connection)
    await posts.erase(connection, [post_id])
    routed = await verdicts.erase(connection, [post_id])
    now = datetime.now(UTC)
    entry = AuditEntry(actor=actor, action="post.deleted", target=post_id, at=now)
    await outbox.put(connection, outbox.audited(kafka, entry))
    for topic in (kafka.input_topic, kafka.output_topic):
        entry_id = secrets.token_hex(16)
        headers = event_headers("deletion", entry_id, post_id, now)
        record = Record(topic, post_id.encode(), None, [*headers, ("traceparent", trace.traceparent.encode())])
        await outbox.put(connection, outbox.OutboxEntry(entry_id, record, now))
    return bool(routed)


async def _keep(connection: AsyncConnection, post: Post, verdict: Verdict, record: Record) -> Verdict:
    """Keep a verdict, its post, and its record for Kafka; a known verdict is given as it was, and kept once."""
    now = datetime.now(UTC)
    if not await verdicts.put_rows(connection, [verdicts.verdict_row(verdict, now)]):
        known = select(tables.verdicts).where(tables.verdicts.c.verdict_id == verdict.verdict_id)
        return verdicts.verdict_of((await connection.execute(known)).one())
    await posts.put(connection, post, post.model_dump_json().encode())
    await outbox.put(connection, outbox.OutboxEntry(verdict.verdict_id, record, now))
    return verdict


def _asked(call: Call) -> Asked | None:
    key = call.request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not 0 < len(key) <= _MAX_KEY or not key.isascii():
        raise Problem("wrong_fields", f"{IDEMPOTENCY_KEY} should have 1 to {_MAX_KEY} ASCII characters")
    return Asked(call.key.key_id, key, hashlib.sha256(call.raw).hexdigest())


async def _stored_answer(call: Call, before: StoredResponse) -> Response:
    if not before.same_request:
        raise Problem("key_used", f"should be another {IDEMPOTENCY_KEY}, or the same body as before")
    stored = await verdicts.by_id(call.context.database, before.verdict_id, routed=True)  # its own caller's
    if stored is None:
        raise Problem("gone", "the post was deleted, or the verdict is older than verdicts are kept")
    return Response(stored.verdict.to_json(), media_type="application/json")


def _record(call: Call, post: Post, verdict: Verdict) -> Record:
    kafka = call.context.settings.kafka
    headers = verdict_headers(verdict, call.trace)
    record = Record(kafka.output_topic, post.post_id.encode(), verdict.to_json(), headers)
    if size_of(record.key, record.value, headers) > record_limit(kafka):
        raise Problem("too_large", "the verdict, with the post's metadata, is larger than its topic takes")
    return record


def _escalated(call: Call, escalation: Escalation) -> outbox.OutboxEntry:
    """The escalation's entry in the outbox, where the verdict's has the verdict's id."""
    entry_id, now = f"{verdicts.ESCALATION}{escalation.verdict_id}", datetime.now(UTC)
    headers = event_headers("escalation", entry_id, escalation.post_id, escalation.at)
    traced = [*headers, ("traceparent", call.trace.traceparent.encode())]
    topic, key = call.context.settings.kafka.escalation_topic, escalation.post_id.encode()
    return outbox.OutboxEntry(entry_id, Record(topic, key, escalation.to_json(), traced), now)


def _post_id(request: Request) -> str:
    """The path's id. Raises Problem wrong_fields."""
    post_id: str = request.path_params["post_id"]
    raw: bytes = request.scope["raw_path"]
    if b"/" in raw.partition(b"/v1/posts/")[2]:  # a client or a proxy on the way may make another path of it
        raise Problem("wrong_fields", "post_id should have %2F for each /")
    try:
        unquote_to_bytes(raw).decode()  # in the decoded path U+FFFD stands for what is not UTF-8
    except UnicodeDecodeError:
        raise Problem("wrong_fields", "post_id should be UTF-8, percent-encoded") from None
    if not 0 < len(post_id) <= MAX_ID:
        raise Problem("wrong_fields", f"post_id should have 1 to {MAX_ID} characters")
    return post_id
