"""`POST /v1/posts`: a post in, its verdict out; kept and published like one that came by Kafka."""

import hashlib

from starlette.responses import Response

from moderation_service.console.api.images import check_sizes
from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import idempotency, judged, verdicts
from moderation_service.console.store.idempotency import Asked, StoredResponse
from moderation_service.contracts.envelope import verdict_headers
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.sizes import record_limit, size_of
from moderation_service.kafka.topic_io import Record

IDEMPOTENCY_KEY = "Idempotency-Key"
_LONGEST = 255


async def judge(call: Call) -> Response:
    """Judge a post now. Its verdict is kept and goes to the output topic, with the id that it has by Kafka too.

    With an Idempotency-Key the same request is answered with the same verdict, and judged once.
    """
    post: Post = call.body
    check_sizes(post.images, call.parts.settings.media.max_bytes)
    asked = _asked(call)
    if asked and (before := await idempotency.find(call.parts.database, asked)):
        return await _again(call, before)
    verdict = await call.seated.judged(post, trace_id=call.trace.trace_id, published=True)
    call.tell_of([verdict])
    record = _record(call, post, verdict)
    async with call.parts.database.begin() as connection:
        kept = await judged.put(connection, post, verdict, record)
        answer = await idempotency.keep(connection, asked, kept.verdict_id) if asked else None
    call.parts.put_in_outbox.set()
    if answer and answer != StoredResponse(kept.verdict_id, same_request=True):  # the same key came twice at once
        return await _again(call, answer)
    return Response(kept.to_json(), media_type="application/json")


def _asked(call: Call) -> Asked | None:
    key = call.request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not 0 < len(key) <= _LONGEST or not key.isascii():
        raise Problem("wrong_fields", f"{IDEMPOTENCY_KEY} should have 1 to {_LONGEST} ASCII characters")
    return Asked(call.key.key_id, key, hashlib.sha256(call.raw).hexdigest())


async def _again(call: Call, before: StoredResponse) -> Response:
    if not before.same_request:
        raise Problem("key_used", f"should be another {IDEMPOTENCY_KEY}, or the same body as before")
    stored = await verdicts.by_id(call.parts.database, before.verdict_id)
    if stored is None:
        raise Problem("gone", "the post was deleted, or the verdict is older than verdicts are kept")
    return Response(stored.verdict.to_json(), media_type="application/json")


def _record(call: Call, post: Post, verdict: Verdict) -> Record:
    kafka = call.parts.settings.kafka
    headers = verdict_headers(verdict, call.trace)
    record = Record(kafka.output_topic, post.post_id.encode(), verdict.to_json(), headers)
    if size_of(record.key, record.value, headers) > record_limit(kafka):
        raise Problem("too_large", "the verdict, with the post's metadata, is larger than its topic takes")
    return record
