import hashlib
from datetime import UTC, datetime

from moderation_service.contracts.dead_letter import HEAD_BYTES, DeadLetter, DeadLetterReference


def letter(message: str = "post_id: Field required") -> DeadLetter:
    return DeadLetter(
        topic="moderation.posts",
        partition=3,
        offset=17,
        timestamp=1_700_000_000_000,
        consumer_group="moderation",
        stage="open",
        reason="wrong_schema",
        exception_class_name="Poison",
        exception_message=message,
        failed_at=datetime(2026, 5, 1, tzinfo=UTC),
        service_version="0.1.0",
    )


def test_headers_carry_the_connect_names_and_read_back() -> None:
    headers = letter().headers()
    assert dict(headers)["dlq.errors.exception.class.name"] == b"Poison"
    assert dict(headers)["dlq.errors.consumer.group"] == b"moderation"
    assert DeadLetter.from_headers([("own", b"\xff"), *headers]) == letter()


def test_a_long_message_is_cut_so_that_headers_stay_small() -> None:
    assert sum(len(name) + len(value) for name, value in letter("x" * 10_000_000).headers()) < 4096


def test_a_reference_says_where_the_record_is_and_how_it_begins() -> None:
    value = bytes(range(256)) * 1024
    reference = DeadLetterReference.of("posts", 1, 2, value)
    again = DeadLetterReference.model_validate_json(reference.to_json())
    assert (again.size, again.sha256, again.head) == (len(value), hashlib.sha256(value).hexdigest(), value[:HEAD_BYTES])
