"""Records as the consumer gives them."""

from collections.abc import Iterable

from aiokafka import ConsumerRecord

from moderation_service.stream.processing_result import Output, ProcessingResult, ReceivedRecord, RecordOutcome


def record(
    value: bytes | None, key: bytes | None = b"k", headers: tuple[tuple[str, bytes | None], ...] = (), offset: int = 41
) -> ConsumerRecord:
    sizes = len(key or b""), len(value or b"")
    return ConsumerRecord("moderation.posts", 3, offset, 1_700_000_000_000, 0, key, value, None, *sizes, headers)


def result(*outputs: Output, outcome: RecordOutcome = "verdict", fallbacks: Iterable[Output] = ()) -> ProcessingResult:
    return ProcessingResult(ReceivedRecord.of(record(b"{}")), outcome, outputs, iter(fallbacks))
