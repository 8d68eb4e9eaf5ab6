import hashlib

import pytest
from aiokafka import ConsumerRecord

from moderation_service.contracts.dead_letter import HEAD_BYTES, DeadLetter, DeadLetterReference
from moderation_service.errors import Poison
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import Output, ReceivedRecord, dead_letter
from tests.stream.records import record

SETTINGS = KafkaSettings(max_message_bytes=256 * 1024)
LIMIT = record_limit(SETTINGS)
POISON = Poison("not_json", "the value is not JSON")


def fitting(record: ConsumerRecord, limit: int = LIMIT) -> Output:
    letter = dead_letter(ReceivedRecord.of(record), POISON, SETTINGS)
    letter.fit(limit)
    return letter.outputs[0]


def test_it_keeps_key_bytes_and_headers_and_tells_the_reason() -> None:
    letter = dead_letter(ReceivedRecord.of(record(b"\xff", headers=(("a", b"1"), ("b", None)))), POISON, SETTINGS)
    letter.fit(LIMIT)
    (output,) = letter.outputs
    assert letter.reason == "not_json"
    assert (output.topic, output.key, output.value) == (SETTINGS.dead_letter_topic, b"k", b"\xff")
    assert output.headers[:2] == [("a", b"1"), ("b", None)]
    letter = DeadLetter.from_headers(output.headers[2:])
    assert (letter.topic, letter.partition, letter.offset) == ("moderation.posts", 3, 41)
    assert (letter.reason, letter.stage, letter.by_reference) == ("not_json", "open", False)


@pytest.mark.parametrize(("size", "digest"), [(300, "ab"), (300, None), (None, None)])
def test_a_record_that_was_not_read_whole_goes_by_reference_with_what_is_known(
    size: int | None, digest: str | None
) -> None:
    output = fitting(record(PartialValue(b"head", size, digest)))
    assert DeadLetter.from_headers(output.headers).by_reference
    assert output.value is not None
    reference = DeadLetterReference.model_validate_json(output.value)
    assert (reference.size, reference.sha256, reference.head) == (size, digest, b"head")


def test_a_record_too_large_to_send_again_goes_by_reference() -> None:
    value = b"x" * (LIMIT + 1)
    output = fitting(record(value, headers=(("a", b"1"),)))
    assert output.size <= LIMIT
    assert (output.key, output.headers[0]) == (b"k", ("a", b"1"))
    assert DeadLetter.from_headers(output.headers[1:]).by_reference
    assert output.value is not None
    reference = DeadLetterReference.model_validate_json(output.value)
    assert (reference.topic, reference.partition, reference.offset) == ("moderation.posts", 3, 41)
    assert (reference.size, reference.sha256) == (len(value), hashlib.sha256(value).hexdigest())
    assert reference.head == value[:HEAD_BYTES]


@pytest.mark.parametrize(
    ("key", "headers"),
    [(b"k" * (LIMIT + 1), ()), (b"k", (("h", b"v" * (LIMIT + 1)),)), (b"k", (("h" * (LIMIT + 1), b""),))],
    ids=["key", "header value", "header name"],
)
def test_a_key_or_header_alone_too_large_is_left_out(key: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    output = fitting(record(b"x", key, headers))
    assert output.size <= LIMIT
    assert output.key is None
    assert DeadLetter.from_headers(output.headers).by_reference


def test_the_smallest_form_is_small_whatever_the_record() -> None:
    huge = record(b"x" * LIMIT, b"k" * LIMIT, (("h", b"v" * LIMIT),))
    assert fitting(huge, 0).size < 4096


def test_a_null_value_without_a_key_is_still_producible() -> None:
    output = dead_letter(ReceivedRecord.of(record(None, None)), Poison("no_key", "no key"), SETTINGS).outputs[0]
    assert (output.key, output.value) == (None, b"")
