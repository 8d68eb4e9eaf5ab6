"""A received record and what it became: the records to publish, dead letters among them, and its completion log.

Dead letters have progressively smaller fallbacks, so that one always fits `max_message_bytes`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Literal, Self

import structlog
from aiokafka import ConsumerRecord
from pydantic_core import from_json

from moderation_service import __version__
from moderation_service.contracts.dead_letter import DeadLetter, DeadLetterReference
from moderation_service.contracts.envelope import Headers
from moderation_service.contracts.json_text import has_too_many_values
from moderation_service.errors import Poison
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.kafka.sizes import bytes_of, record_limit, size_of
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics
from moderation_service.telemetry.tracing import UNTRACED, RecordSpan

OFF_LOOP_BYTES = 256 * 1024  # a larger value is parsed on a thread
_CHARS = 128
_PROCESSED, _PUBLISHED = cache(metrics.PROCESSED.labels), cache(metrics.PUBLISHED.labels)
_log = structlog.get_logger(__name__)
Outcome = Literal["verdict", "dead_letter", "deleted"]


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


@dataclass(frozen=True, slots=True)
class ProcessingResult:
    """`smaller` gives what to publish instead where this is too large; None: there is nothing smaller.

    `also` goes out with it. `facts` are what the log line tells; never words of a post.
    """

    output: Output
    outcome: Outcome
    reason: str | None = None
    smaller: "Callable[[], ProcessingResult] | None" = None
    also: tuple[Output, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    received: float = 0.0
    timestamp_ms: int = -1
    way: RecordSpan = UNTRACED

    @property
    def outputs(self) -> tuple[Output, ...]:
        """All that is to be published."""
        return (self.output, *self.also)

    def within(self, limit: int) -> "ProcessingResult":
        """The first of the ever smaller forms that fits, or the smallest."""
        fitting = self
        while fitting.output.size > limit and fitting.smaller is not None:
            fitting = fitting.smaller()
        return fitting


def crashed_worker(received: ReceivedRecord, settings: KafkaSettings, *, attempts: int) -> ProcessingResult:
    """The dead letter of a record that was never finished because its processes died. Looks at none of its bytes."""
    record = received.record
    msg = f"{attempts} workers died while they judged this record"
    finished = dead_letter(record, Poison("crashed_worker", msg, stage="judge"), settings, attempts=attempts)
    facts = {"partition": record.partition, "offset": record.offset}
    recorded = replace(finished, facts=facts, received=received.at, timestamp_ms=record.timestamp)
    return recorded.within(record_limit(settings))


def dead_letter(
    record: ConsumerRecord, poison: Poison, settings: KafkaSettings, *, attempts: int = 1
) -> ProcessingResult:
    """Turn a record and its refusal into what goes to the dead-letter topic.

    First the whole record: its key, bytes and headers, with the reason headers. Where that is too large: by reference,
    then without its own key and headers, then without the beginning of its bytes.
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
    own, referring = letter.headers(), letter.model_copy(update={"by_reference": True}).headers()
    theirs = list(record.headers)
    topic = settings.dead_letter_topic
    value = record.value or b""  # a null value would delete the key

    def finished(output: Output) -> ProcessingResult:
        return ProcessingResult(output, "dead_letter", poison.reason)

    def reference() -> ProcessingResult:
        referred = DeadLetterReference.of(record.topic, record.partition, record.offset, value)
        if isinstance(value, PartialValue):
            referred = referred.model_copy(update={"size": value.size, "sha256": value.sha256})
        headless = referred.model_copy(update={"head": b""})
        least = finished(Output(topic, None, headless.to_json(), referring))
        bare = replace(finished(Output(topic, None, referred.to_json(), referring)), smaller=lambda: least)
        whole = Output(topic, record.key, referred.to_json(), [*theirs, *referring])
        return replace(finished(whole), smaller=lambda: bare)

    if isinstance(value, PartialValue):  # the whole was never held
        return reference()
    return replace(finished(Output(topic, record.key, value, [*theirs, *own])), smaller=reference)


def log_completion(finished: ProcessingResult) -> None:
    """Say what became of a record and count it; now that it is published."""
    _PROCESSED(finished.outcome).inc()
    _PUBLISHED(finished.output.topic, finished.outcome).inc()
    if finished.reason is not None:
        metrics.DEAD_LETTERS.labels(finished.reason).inc()
    end_to_end = None
    if finished.timestamp_ms > 0:  # a producer may set none
        end_to_end = max(0.0, time.time() - finished.timestamp_ms / 1000)
        metrics.END_TO_END.observe(end_to_end, finished.way.exemplar)
    finished.way.published()
    _log.info(
        "post",
        **finished.facts,
        outcome=finished.outcome,
        reason=finished.reason,
        in_process_ms=round((time.monotonic() - finished.received) * 1000, 2),
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
