"""Record processor: parse, judge, and build what to publish. No record makes it fail.

A record whose key is not its post id is judged, counted and logged: a deletion by that key would erase nothing.
"""

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import structlog
from aiokafka import ConsumerRecord

from moderation_service.contracts.envelope import CloudEvent, Headers, Trace, check_content_type, verdict_headers
from moderation_service.contracts.post import Post, read_post
from moderation_service.contracts.registry_frame import unframed_key
from moderation_service.errors import ModerationError, Poison, Transient
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.result_cache import Judged
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.kafka.sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import (
    OFF_LOOP_BYTES,
    Output,
    ProcessingResult,
    ReceivedRecord,
    dead_letter,
    name_of,
    short,
)
from moderation_service.telemetry import metrics, tracing

_EVERY_S = 60.0
_log = structlog.get_logger(__name__)
BUG_TRIES = 3
INTERNAL_ERROR = "internal_error"
_HELD_AFTER_TRIES = 3
_HUNG_AFTER_S = 60.0
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0
_OPENING = metrics.STAGE_SECONDS.labels("open")
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


async def open_record(record: ConsumerRecord) -> Post | None:
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
        """None was seen yet."""
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


class PostJudge(Protocol):
    """What turns a post into a verdict."""

    def evidence(self, post: Post) -> AbstractAsyncContextManager[Evidence]:
        """What of the post could be had, held for as long as it is judged."""
        ...

    async def judge_on(self, post: Post, evidence: Evidence, *, trace_id: str, queue_ms: float) -> Judged:
        """Judge one post. Raises Poison (never readable), Transient (try again) or Fatal (stop the process)."""
        ...


@dataclass(slots=True)
class RecordProcessor:
    """The line, and whether the engine holds it up. A post stays with the `judge` that it began with."""

    settings: KafkaSettings
    judge: PostJudge
    _keys: KeyCheck = field(default_factory=KeyCheck)
    _failing: set[int] = field(default_factory=set)
    _in_work: int = 0
    _moved_at: float = 0.0  # when a post was finished, or began with no other in work

    @property
    def held(self) -> bool:
        """Whether some post was tried several times and no post has passed since, or none is finished for long."""
        hung = self._in_work > 0 and time.monotonic() - self._moved_at > _HUNG_AFTER_S
        return hung or bool(self._failing)

    def retries(self, received: ReceivedRecord) -> bool:
        """Whether this record was tried several times, and the engine was not there for it."""
        return id(received) in self._failing

    async def finish(self, received: ReceivedRecord) -> ProcessingResult:
        """Judge one record, for as long as that takes. Raises Fatal, and nothing else."""
        if not self._in_work:
            self._moved_at = time.monotonic()
        self._in_work += 1
        try:
            finished = await self._finish(received)
            self._moved_at = time.monotonic()
        finally:
            self._in_work -= 1
            self._failing.discard(id(received))
        return _carrying(finished).within(record_limit(self.settings))

    async def _finish(self, received: ReceivedRecord) -> ProcessingResult:
        record, headers = received.record, headers_of(received.record)
        way, facts = tracing.begin(record.topic, headers), dict[str, object]()
        trace = Trace(*way.ids) if way.ids else Trace.of(headers)
        try:
            if event := CloudEvent.of(headers):
                facts["ce_id"] = short(event.id)
            finished = await self._judge(received, trace)
        except Poison as poison:
            tries = BUG_TRIES if poison.reason == INTERNAL_ERROR else 1
            finished = dead_letter(record, poison, self.settings, attempts=tries)
        facts |= finished.facts or await name_of(record)
        facts |= {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        facts |= {"trace.id": trace.trace_id}
        way.judged(finished.outcome, finished.reason)
        return replace(finished, facts=facts, received=received.at, timestamp_ms=record.timestamp, way=way)

    async def _judge(self, received: ReceivedRecord, trace: Trace) -> ProcessingResult:
        record, settings = received.record, self.settings
        check_size(received, settings.max_message_bytes)
        forwarded = [header for header in headers_of(record) if header[0] in settings.forward_headers]
        with _OPENING.time():
            post = await open_record(record)

        def too_large() -> ProcessingResult:
            poison = Poison("verdict_too_large", "the verdict is larger than its topic takes", stage="publish")
            return dead_letter(record, poison, settings)

        if post is None:
            # verdicts are keyed by the post id; a dead letter has the key that its record had
            verdicts = Output(settings.output_topic, unframed_key(record.key), None, forwarded)
            letters = Output(settings.dead_letter_topic, record.key, None, forwarded)
            return ProcessingResult(verdicts, "deleted", smaller=too_large, also=(letters,))
        self._keys.check(record.key, post.post_id)
        judged = await self._judge_until_done(post, received, trace)
        self._failing.clear()
        verdict = judged.verdict
        headers = [*verdict_headers(verdict, trace), *forwarded]
        output = Output(settings.output_topic, post.post_id.encode(), verdict.to_json(), headers)
        facts = {
            "post_id": short(post.post_id),
            "decision": verdict.decision,
            "tokens": judged.tokens,
            **{f"{step}_ms": took for step, took in verdict.timings_ms},
        }
        return ProcessingResult(output, "verdict", smaller=too_large, facts=facts)

    async def _judge_until_done(self, post: Post, received: ReceivedRecord, trace: Trace) -> Judged:
        """Try until the engine answers, on evidence that is loaded once.

        Raises Poison for what can't be judged, also after BUG_TRIES of a bug.
        """
        judge, bugs, tries, pause = self.judge, 0, 0, _FIRST_WAIT_S
        queue_ms = (time.monotonic() - received.at) * 1000
        async with AsyncExitStack() as held:
            evidence: Evidence | None = None
            while True:
                try:
                    if evidence is None:
                        evidence = await _uncancelled(held.enter_async_context(judge.evidence(post)))
                    judging = judge.judge_on(post, evidence, trace_id=trace.trace_id, queue_ms=queue_ms)
                    return await _uncancelled(judging)
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
                # no library: stamina's costs as much as the rest of this file, and leaves cycles for the collector
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads tries, hides nothing
                pause = min(pause * 2, _LONGEST_WAIT_S)
                tries += 1
                metrics.RETRIES.labels(reason).inc()
                if tries >= _HELD_AFTER_TRIES and not bugs:
                    self._failing.add(id(received))


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


def _carrying(finished: ProcessingResult) -> ProcessingResult:
    """The same, whose smaller forms keep its facts."""
    smaller = finished.smaller
    if smaller is None:
        return finished

    def keeping() -> ProcessingResult:
        kept = {name: getattr(finished, name) for name in ("facts", "received", "timestamp_ms", "way")}
        return _carrying(replace(smaller(), **kept))

    return replace(finished, smaller=keeping)
