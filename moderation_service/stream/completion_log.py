"""Completion log: one line and the counters of each published record."""

import asyncio
import time
from functools import cache

import structlog
from aiokafka import ConsumerRecord
from pydantic_core import from_json

from moderation_service.contracts.json_text import has_too_many_values
from moderation_service.stream.processing_result import ProcessingResult
from moderation_service.stream.record_parser import OFF_LOOP_BYTES
from moderation_service.telemetry import metrics

_CHARS = 128
_PROCESSED, _PUBLISHED = cache(metrics.PROCESSED.labels), cache(metrics.PUBLISHED.labels)
_log = structlog.get_logger(__name__)


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
