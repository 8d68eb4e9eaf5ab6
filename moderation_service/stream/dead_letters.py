"""Dead letters with progressively smaller fallbacks, so that one always fits `max_message_bytes`."""

from dataclasses import replace
from datetime import UTC, datetime

from aiokafka import ConsumerRecord

from moderation_service import __version__
from moderation_service.contracts.dead_letter import DeadLetter, DeadLetterReference
from moderation_service.errors import Poison
from moderation_service.kafka.record_batches import PartialValue
from moderation_service.kafka.sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import Output, ProcessingResult
from moderation_service.stream.received_record import ReceivedRecord


def crashed_worker(received: ReceivedRecord, settings: KafkaSettings, *, attempts: int) -> ProcessingResult:
    """The dead letter of a record that was never finished because its processes died. Looks at none of its bytes."""
    record = received.record
    msg = f"{attempts} workers died while they judged this record"
    finished = dead_letter(record, Poison("crashed_worker", msg, stage="judge"), settings, attempts=attempts)
    facts = {"partition": record.partition, "offset": record.offset}
    told = replace(finished, facts=facts, received=received.at, timestamp_ms=record.timestamp)
    return told.within(record_limit(settings))


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
