"""Record parser: a record's bytes to a post, or to a deletion."""

import asyncio

from aiokafka import ConsumerRecord

from moderation_service.contracts.envelope import Headers, check_content_type
from moderation_service.contracts.post import Post, read_post
from moderation_service.errors import Poison
from moderation_service.kafka.record_batches import PartialValue
from moderation_service.stream.received_record import ReceivedRecord

OFF_LOOP_BYTES = 256 * 1024


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
