"""How large a record may be, said once: topics, producers and consumers take it from here, so they agree."""

from aiokafka import ConsumerRecord
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from moderation_service.contracts.envelope import Headers
from moderation_service.settings import KafkaSettings

HEADROOM_BYTES = 64 * 1024  # for a dead letter's headers on top of a record that was as large as allowed
_BATCH_BYTES = 256 * 1024


def record_limit(settings: KafkaSettings) -> int:
    """The largest record in bytes, with key, headers and framing: the topics' `max.message.bytes`."""
    return settings.max_message_bytes + HEADROOM_BYTES


def batch_limit(settings: KafkaSettings) -> int:
    """Bytes of small records that a producer joins in one batch; never more than a topic takes."""
    return min(_BATCH_BYTES, settings.max_message_bytes)


def bytes_of(record: ConsumerRecord) -> int:
    """The bytes of a record's key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """An upper bound of a record's bytes, by the formula that the producer refuses records with."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers))
