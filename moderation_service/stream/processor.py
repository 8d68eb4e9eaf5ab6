"""Record processor: one record to its result, step by step. No record makes it fail.

A record whose key is not its post id is judged, counted and logged: a deletion by that key would erase nothing.
"""

import asyncio
import base64
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from moderation_service.backoff import Backoff
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.contracts.envelope import (
    CloudEvent,
    Headers,
    Trace,
    check_content_type,
    event_headers,
    verdict_headers,
)
from moderation_service.contracts.post import Post, read_post
from moderation_service.contracts.registry_frame import unframed_key
from moderation_service.errors import ModerationError, Poison, Transient
from moderation_service.judging.escalation import LEGAL_HOLD, escalation_of, seize
from moderation_service.judging.judge import Judge, JudgeResult
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import (
    OFF_LOOP_BYTES,
    VERDICT_TOO_LARGE,
    Output,
    ProcessingResult,
    ReceivedRecord,
    RecordOutcome,
    dead_letter,
    dead_letters,
    name_of,
    short,
)
from moderation_service.telemetry import metrics, tracing

BUG_TRIES = 3
INTERNAL_ERROR = "internal_error"
_BACKOFF = Backoff(first_s=0.2, longest_s=5.0)
_EVERY_S = 60.0
_BLOCKED_AFTER_TRIES = 3
_NAMES = {LEGAL_HOLD: "legal hold", "hma": "HMA"}  # of what posts wait for, by the reason to retry; else the engine
_OPENING = metrics.STAGE_SECONDS.labels("open")
_log = structlog.get_logger(__name__)
T = TypeVar("T")


def headers_of(record: ConsumerRecord) -> Headers:
    """A record's headers; Kafka's null values become empty ones."""
    return [(name, value or b"") for name, value in record.headers]


def check_size(received: ReceivedRecord, most: int) -> None:
    """Raise Poison for a record of more than `most` bytes of key, value and headers, unpacked."""
    partial = received.record.value if isinstance(received.record.value, PartialValue) else None
    if partial is not None or received.size > most:
        size = f"{received.size} bytes" if partial is None else f"a value of {partial.size or 'untold'} bytes"
        msg = f"the record has {size}, unpacked; kafka.max_message_bytes is {most}"
        raise Poison("record_too_large", msg)


async def parse_record(record: ConsumerRecord) -> Post | None:
    """Read the post; None where the record deletes its key. Raises Poison with the reason."""
    if record.value is None:
        if record.key is None:
            msg = "a null value deletes the post of its key, and this record has no key"
            raise Poison("no_key", msg)
        return None
    check_content_type(headers_of(record))
    if len(record.value) > OFF_LOOP_BYTES:
        return await asyncio.to_thread(read_post, record.value)
    return read_post(record.value)


class KeyCheck:
    """Counts posts that are keyed otherwise than by their post id, and logs the number of them once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = 0
        self._next = float("-inf")

    def check(self, key: bytes | None, post_id: str) -> None:
        """Compare them. A post is judged in any case."""
        if key is None:
            metrics.MISMATCHED_KEYS.labels("absent").inc()
        elif unframed_key(key) != post_id.encode():
            metrics.MISMATCHED_KEYS.labels("other").inc()
            self._seen += 1
            if self._clock() >= self._next:
                self._next = self._clock() + _EVERY_S
                _log.warning(
                    "the record key is not the post id; a deletion by that key erases nothing, send it by the post id",
                    posts=self._seen,
                )
                self._seen = 0


@dataclass(slots=True)
class RecordProcessor:
    """Turns records into results, and knows what blocks it. A post stays with the `judge` it began with."""

    settings: KafkaSettings
    judge: Judge
    backoff: Backoff = _BACKOFF
    hung_after_s: float = 60.0
    hold: LegalHold | None = None
    _keys: KeyCheck = field(default_factory=KeyCheck)
    _failing: dict[int, tuple[TopicPartition, str]] = field(default_factory=dict)  # and for what; by the record's id()
    _in_work: int = 0
    _moved_at: float = 0.0  # when a record was finished, or began with no other in work

    async def process(self, received: ReceivedRecord) -> ProcessingResult:
        """Check, parse, judge, and build what to publish, for as long as the engine takes. Raises Fatal alone."""
        record, headers = received.record, headers_of(received.record)
        span, facts = tracing.begin(record.topic, headers), dict[str, object]()
        trace = Trace(*span.ids) if span.ids else Trace.of(headers)
        post = None
        with self._working_on(received):
            try:
                if event := CloudEvent.of(headers):
                    facts["ce_id"] = short(event.id)
                check_size(received, self.settings.max_message_bytes)
                with _OPENING.time():
                    post = await parse_record(record)
                if post is None:
                    result = self._deletion(received)
                else:
                    self._keys.check(record.key, post.post_id)
                    judged = await self._judge_until_done(post, received, trace)
                    result = self._verdict(received, post, judged, trace)
            except Poison as poison:
                attempts = BUG_TRIES if poison.reason == INTERNAL_ERROR else 1
                result = dead_letter(received, poison, self.settings, attempts=attempts)
                if post is not None and self.judge.has_routes:  # it may be of one: nobody knows
                    result.withhold_content()
            facts |= result.facts or await name_of(record)
        facts |= {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        result.facts, result.span = facts | {"trace.id": trace.trace_id}, span
        span.judged(result.outcome, result.reason)
        result.fit(record_limit(self.settings))
        return result

    @property
    def blocked_by(self) -> set[str]:
        """What posts wait for that were tried several times, if none has passed since; the engine if it hangs."""
        if waited_for := {what for _, what in self._failing.values()}:
            return waited_for
        hung = self._in_work > 0 and time.monotonic() - self._moved_at > self.hung_after_s
        return {"engine"} if hung else set()

    def is_retrying(self, partition: TopicPartition) -> bool:
        """Whether a record of this partition was tried several times, and what it needs was not there."""
        return any(partition == failing for failing, _ in self._failing.values())

    async def _judge_until_done(self, post: Post, received: ReceivedRecord, trace: Trace) -> JudgeResult:
        """Load the evidence once, and try until the engine answers and the legal hold has what it must.

        Raises Poison for what can't be judged, also after BUG_TRIES of a bug.
        """
        judge, bugs, tries = self.judge, 0, 0
        queue_ms = (time.monotonic() - received.at) * 1000
        async with AsyncExitStack() as held:
            evidence = judged = None
            while True:
                try:
                    if evidence is None:
                        loading = judge.load_evidence(post, (received.record.topic, received.record.partition))
                        evidence = await _uncancelled(held.enter_async_context(loading))
                    if judged is None:
                        judging = judge.judge(post, trace_id=trace.trace_id, queue_ms=queue_ms, evidence=evidence)
                        judged = await _uncancelled(judging)
                    given = {"record": received.record.value, "origin": _origin(received.record)}
                    await seize(self.hold, judged.verdict, evidence, **given)
                except Transient as error:
                    reason = error.reason
                except ModerationError:
                    raise
                except Exception as error:
                    bugs, reason = bugs + 1, INTERNAL_ERROR
                    # the error's own words may quote the post: its type and its stack are enough
                    facts = {"error": type(error).__name__, "stack": "".join(traceback.format_tb(error.__traceback__))}
                    _log.error("a post could not be judged", **facts, tries=bugs, **{"trace.id": trace.trace_id})
                    if bugs == BUG_TRIES:
                        msg = "unexpected error while judging; the log has its trace"
                        raise Poison(INTERNAL_ERROR, msg, stage="judge") from error
                else:
                    self._failing.clear()
                    return judged
                tries += 1
                await self.backoff.wait(tries)
                metrics.RETRIES.labels(reason).inc()
                if tries >= _BLOCKED_AFTER_TRIES and not bugs:
                    partition = TopicPartition(received.record.topic, received.record.partition)
                    self._failing[id(received)] = partition, _NAMES.get(reason, "engine")

    def _deletion(self, received: ReceivedRecord) -> ProcessingResult:
        """Nulls: verdicts are keyed by the post id, a dead letter has the key that its record had."""
        key, forwarded = received.record.key, self._forwarded(received)
        verdicts = Output(self.settings.output_topic, unframed_key(key), None, forwarded)
        letters = Output(self.settings.dead_letter_topic, key, None, forwarded)
        return self._result(received, "deleted", verdicts, letters)

    def _verdict(self, received: ReceivedRecord, post: Post, judged: JudgeResult, trace: Trace) -> ProcessingResult:
        verdict = judged.verdict
        headers = [*verdict_headers(verdict, trace), *self._forwarded(received)]
        key = post.post_id.encode()
        outputs = [Output(self.settings.output_topic, key, verdict.to_json(), headers)]
        if escalation := escalation_of(verdict):
            about = event_headers("escalation", verdict.verdict_id, verdict.post_id, escalation.at)
            traced = [*about, ("traceparent", trace.traceparent.encode())]
            outputs.append(Output(self.settings.escalation_topic, key, escalation.to_json(), traced))
        result = self._result(received, "verdict", *outputs)
        if verdict.route:
            result.withhold_content()
        result.facts = {
            "post_id": short(post.post_id),
            "decision": verdict.decision,
            "tokens": judged.tokens,
            **{f"{step}_ms": took for step, took in verdict.timings_ms},
        }
        if verdict.matches:
            result.facts["banks"] = sorted({match.bank for match in verdict.matches})
        return result

    def _result(self, received: ReceivedRecord, outcome: RecordOutcome, *outputs: Output) -> ProcessingResult:
        poison = Poison(VERDICT_TOO_LARGE, "the verdict is larger than its topic takes", stage="publish")
        return ProcessingResult(received, outcome, outputs, dead_letters(received.record, poison, self.settings))

    def _forwarded(self, received: ReceivedRecord) -> Headers:
        return [header for header in headers_of(received.record) if header[0] in self.settings.forward_headers]

    @contextmanager
    def _working_on(self, received: ReceivedRecord) -> Iterator[None]:
        """Count a record that is in work, to notice an engine that finishes none."""
        if not self._in_work:
            self._moved_at = time.monotonic()
        self._in_work += 1
        try:
            yield
            self._moved_at = time.monotonic()
        finally:
            self._in_work -= 1
            self._failing.pop(id(received), None)


async def _uncancelled(judging: Awaitable[T]) -> T:
    """Await it; a cancellation that nobody asked of this task is a bug inside, and must not end the task."""
    try:
        return await judging
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        msg = "judging was cancelled from within"
        raise RuntimeError(msg) from None


def _origin(record: ConsumerRecord) -> dict[str, object]:
    """Where the record stood, and its key and headers in base64."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else base64.b64encode(record.key).decode(),
        "headers": [[name, base64.b64encode(value or b"").decode()] for name, value in record.headers],
    }
