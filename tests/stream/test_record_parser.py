import json
import threading

import pytest

from moderation_service.contracts import post as post_contract
from moderation_service.errors import Poison
from moderation_service.kafka.aiokafka_workarounds import PartialValue
from moderation_service.stream import processor as record_parser
from moderation_service.stream.processing_result import ReceivedRecord
from moderation_service.stream.processor import OFF_LOOP_BYTES, check_size, parse_record
from tests.stream.records import record


async def test_a_record_becomes_its_post() -> None:
    post = await parse_record(record(b'{"post_id": "p1", "text": "hello"}'))
    assert post is not None
    assert (post.post_id, post.text) == ("p1", "hello")


async def test_a_null_value_is_a_deletion() -> None:
    assert await parse_record(record(None)) is None


@pytest.mark.parametrize(
    ("value", "key", "headers", "reason"),
    [
        (None, None, (), "no_key"),
        (b"\x00", b"k", (), "not_json"),
        (b"", b"k", (), "not_json"),
        (b"[]", b"k", (), "wrong_schema"),
        (b'{"post_id": "p"}', b"k", (), "wrong_schema"),
        (b'{"post_id": "p", "text": "x"}', b"k", (("content-type", b"text/plain"),), "wrong_content_type"),
        (b'{"post_id": "p", "text": "x"}', b"k", (("content-type", None),), "wrong_content_type"),
    ],
)
async def test_what_is_no_post_is_poison(
    value: bytes | None, key: bytes | None, headers: tuple[tuple[str, bytes | None], ...], reason: str
) -> None:
    with pytest.raises(Poison) as refusal:
        await parse_record(record(value, key, headers))
    assert refusal.value.reason == reason


async def test_a_large_record_is_parsed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def noting(value: bytes) -> post_contract.Post:
        threads.append(threading.current_thread())
        return post_contract.read_post(value)

    monkeypatch.setattr(record_parser, "read_post", noting)
    for size in (10, OFF_LOOP_BYTES):
        await parse_record(record(json.dumps({"post_id": "p", "text": "x" * size}).encode()))
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_a_record_of_more_bytes_than_allowed_is_refused_whatever_has_them() -> None:
    check_size(ReceivedRecord.of(record(b"x" * 7, key=b"k", headers=(("h", b"v"),))), 10)
    for large in (record(b"x" * 10), record(None, key=b"k" * 11), record(b"", headers=(("h", b"v" * 9),))):
        with pytest.raises(Poison, match=r"has 11 bytes, unpacked; kafka\.max_message_bytes is 10") as refused:
            check_size(ReceivedRecord.of(large), 10)
        assert refused.value.reason == "record_too_large"


@pytest.mark.parametrize(("size", "said"), [(300, "300 bytes"), (None, "untold bytes")])
def test_a_record_that_was_not_read_whole_is_refused(size: int | None, said: str) -> None:
    with pytest.raises(Poison, match=f"a value of {said}, unpacked"):
        check_size(ReceivedRecord.of(record(PartialValue(b"x", size, None))), 10)
