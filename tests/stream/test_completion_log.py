"""What a log line says of a record."""

from moderation_service.stream.processing_result import name_of, short
from tests.stream.records import record


def test_what_a_producer_chose_is_one_short_printable_word() -> None:
    assert short("p\x1b[2J\n\u202e\u2066\x00é名") == "p\ufffd[2J\ufffd\ufffd\ufffd\ufffdé名"
    assert len(short("x" * 1000)) == 128


async def test_a_record_is_called_by_its_post_id_without_control_characters() -> None:
    assert await name_of(record(b'{"post_id": "p\\u001b[31m"}')) == {"post_id": "p\ufffd[31m"}
