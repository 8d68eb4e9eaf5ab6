"""A received record and what it became: the records to publish, dead letters among them, and its completion log."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Literal, Self

import structlog
from aiokafka import ConsumerRecord
from pydantic_core import from_json

from moderation_service import __version__
from moderation_service.contracts.base import has_too_many_values
from moderation_service.contracts.dead_letter import DeadLetter, DeadLetterReference
from moderation_service.contracts.envelope import Headers
from moderation_service.errors import Poison
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.kafka.record_sizes import bytes_of, record_limit, size_of
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics
from moderation_service.telemetry.tracing import UNTRACED, RecordSpan

OFF_LOOP_BYTES = 256 * 1024  # a larger value is parsed on a thread
_CHARS = 128
_PROCESSED, _PUBLISHED = cache(metrics.PROCESSED.labels), cache(metrics.PUBLISHED.labels)
_log = structlog.get_logger(__name__)
VERDICT_TOO_LARGE = "verdict_too_large"
RecordOutcome = Literal["verdict", "dead_letter", "deleted", "passed_over"]


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """A record as it came from the consumer, and when (seconds of the monotonic clock)."""

    record: ConsumerRecord
    at: float
    size: int  # bytes of key, value and headers

    @classmethod
    def of(cls, record: ConsumerRecord) -> Self:
        """It was received just now."""
        return cls(record, time.monotonic(), bytes_of(record))


@dataclass(frozen=True, slots=True)
class Output:
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Upper bound of its bytes on the wire, before compression."""
        return size_of(self.key, self.value, self.headers)


@dataclass(slots=True)
class ProcessingResult:
    """What became of a record: its outputs, and the `facts` of its log line, which are never words of a post.

    `fallbacks` are progressively smaller dead letters, made when an output turns out too large for its topic.
    """

    received: ReceivedRecord
    outcome: RecordOutcome
    outputs: tuple[Output, ...]
    fallbacks: Iterator[Output]
    reason: str | None = None  # of a dead letter
    facts: dict[str, object] = field(default_factory=dict)
    span: RecordSpan = UNTRACED

    def use_fallback(self) -> bool:
        """Become the next fallback. Returns whether there is one."""
        fallback = next(self.fallbacks, None)
        if fallback is None:
            return False
        self.outcome, self.outputs = "dead_letter", (fallback,)
        self.reason = self.reason or VERDICT_TOO_LARGE
        return True

    def withhold_content(self) -> None:
        """Leave no dead letter that holds the record: the smallest, which only refers to it, is what may be used."""
        smallest = list(self.fallbacks)[-1:]
        if self.outcome == "dead_letter":
            self.outputs, smallest = tuple(smallest), []
        self.fallbacks = iter(smallest)

    def fit(self, max_bytes: int) -> None:
        """Fall back until no output is larger, or the smallest fallback is reached."""
        while any(output.size > max_bytes for output in self.outputs) and self.use_fallback():
            pass


def dead_letter(
    received: ReceivedRecord, poison: Poison, settings: KafkaSettings, *, attempts: int = 1
) -> ProcessingResult:
    """The dead letter of a record that can't be judged."""
    letters = dead_letters(received.record, poison, settings, attempts=attempts)
    return ProcessingResult(received, "dead_letter", (next(letters),), letters, poison.reason)


def crashed_worker(received: ReceivedRecord, settings: KafkaSettings, *, attempts: int) -> ProcessingResult:
    """The dead letter of a record that was never finished because its processes died. Looks at none of its bytes."""
    record = received.record
    poison = Poison("crashed_worker", f"{attempts} workers died while they judged this record", stage="judge")
    result = dead_letter(received, poison, settings, attempts=attempts)
    result.facts = {"partition": record.partition, "offset": record.offset}
    result.fit(record_limit(settings))
    return result


def dead_letters(
    record: ConsumerRecord, poison: Poison, settings: KafkaSettings, *, attempts: int = 1
) -> Iterator[Output]:
    """Yield dead letters with progressively smaller fallbacks, so that one always fits `max_message_bytes`.

    First the whole record: its key, bytes and headers, with the reason headers. Then a reference to it; then that
    without the record's key and headers; then without the beginning of its bytes.
    """
    cause = poison.__cause__ or poison
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        consumer_group=settings.group,
        stage=poison.stage,
        reason=poison.reason,
        attempts=attempts,
        exception_class_name=type(cause).__name__,
        exception_message=str(poison),
        failed_at=datetime.now(UTC),
        service_version=__version__,
    )
    topic, theirs = settings.dead_letter_topic, list(record.headers)
    value = record.value or b""  # a null value would delete the key
    if not isinstance(value, PartialValue):  # whose whole was never held
        yield Output(topic, record.key, value, [*theirs, *letter.headers()])
    headers = letter.model_copy(update={"by_reference": True}).headers()
    reference = DeadLetterReference.of(record.topic, record.partition, record.offset, value)
    if isinstance(value, PartialValue):
        reference = reference.model_copy(update={"size": value.size, "sha256": value.sha256})
    yield Output(topic, record.key, reference.to_json(), [*theirs, *headers])
    yield Output(topic, None, reference.to_json(), headers)
    yield Output(topic, None, reference.model_copy(update={"head": b""}).to_json(), headers)


def log_completion(result: ProcessingResult) -> None:
    """Log and count what became of a record, now that it is published."""
    record = result.received.record
    _PROCESSED(result.outcome).inc()
    if result.outcome == "passed_over":
        return
    if result.outputs:
        _PUBLISHED(result.outputs[0].topic, result.outcome).inc()
    if result.reason is not None:
        metrics.DEAD_LETTERS.labels(result.reason).inc()
    end_to_end = None
    if record.timestamp > 0:  # a producer may set none
        end_to_end = max(0.0, time.time() - record.timestamp / 1000)
        metrics.END_TO_END.observe(end_to_end, result.span.exemplar)
    result.span.published()
    _log.info(
        "post",
        **result.facts,
        outcome=result.outcome,
        reason=result.reason,
        in_process_ms=round((time.monotonic() - result.received.at) * 1000, 2),
        end_to_end_ms=None if end_to_end is None else round(end_to_end * 1000, 1),
    )


def short(text: str) -> str:
    """What a producer chose, cut for a log line; control characters and bidi overrides become U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_CHARS])


async def name_of(record: ConsumerRecord) -> dict[str, str]:
    """What a record without a verdict is called: its `post_id` where its JSON can be read that far, else its `key`."""
    value = record.value or b""
    found = _post_id(value) if len(value) <= OFF_LOOP_BYTES else await asyncio.to_thread(_post_id, value)
    if found is not None:
        return {"post_id": short(found)}
    if record.key is not None:
        return {"key": short(record.key[: 4 * _CHARS].decode("utf-8", "backslashreplace"))}
    return {}


def _post_id(value: bytes) -> str | None:
    if has_too_many_values(value):
        return None
    try:
        fields = from_json(value, allow_partial=True)
    except ValueError:
        return None
    found = fields.get("post_id") if isinstance(fields, dict) else None
    return found if isinstance(found, str) and found else None
