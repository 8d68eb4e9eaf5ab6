import pytest

from moderation_service.contracts.envelope import CloudEvent, Trace, check_content_type, verdict_headers
from moderation_service.errors import Poison
from tests.contracts.examples import verdict

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def test_the_producers_trace_goes_on_with_a_span_of_our_own() -> None:
    trace = Trace.of([("traceparent", PARENT.encode())])
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.span_id != "00f067aa0ba902b7"
    assert trace.traceparent == f"00-{trace.trace_id}-{trace.span_id}-00"


@pytest.mark.parametrize(
    "value",
    [b"", b"garbage", b"\xff\xfe", b"ff" + PARENT[2:].encode(), f"00-{'0' * 32}-00f067aa0ba902b7-01".encode()],
)
def test_a_malformed_traceparent_begins_a_new_trace(value: bytes) -> None:
    first, second = (Trace.of([("traceparent", value)]) for _ in range(2))
    assert len(first.trace_id) == 32
    assert first.trace_id != second.trace_id


def test_a_verdict_travels_as_a_binary_mode_cloudevent() -> None:
    trace = Trace.of([])
    headers = dict(verdict_headers(verdict(), trace))
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"v-1",
        "ce_source": b"/moderation-service",
        "ce_type": b"moderation.verdict.v1",
        "ce_subject": b"p-17",
        "ce_time": b"2026-05-01T09:30:00+00:00",
        "content-type": b"application/json",
        "traceparent": trace.traceparent.encode(),
    }


@pytest.mark.parametrize(
    "value", [b"application/json", b"application/json; charset=utf-8", b"application/vnd.post+json"]
)
def test_json_content_types_are_read(value: bytes) -> None:
    check_content_type([("content-type", value)])


@pytest.mark.parametrize("value", [b"application/avro", b"", b"text/plain", b"application/cloudevents+json"])
def test_other_content_types_are_poison(value: bytes) -> None:
    with pytest.raises(Poison, match="send") as caught:
        check_content_type([("Content-Type", value)])
    assert caught.value.reason == "wrong_content_type"


def test_no_content_type_is_fine() -> None:
    check_content_type([("traceparent", PARENT.encode())])


EVENT = {"ce_specversion": b"1.0", "ce_id": b"e-1", "ce_source": b"/shop", "ce_type": b"post.made"}


def test_a_binary_mode_cloudevent_is_read() -> None:
    event = CloudEvent.of({**EVENT, "ce_time": b"2026-05-01T09:30:00Z", "ce_other": b"\xff", "x": b"\xff"}.items())
    assert event == CloudEvent("e-1", "/shop", "post.made", "2026-05-01T09:30:00Z")
    assert CloudEvent.of({**EVENT, "ce_specversion": b"1.1"}.items()) == CloudEvent("e-1", "/shop", "post.made")


def test_a_record_without_a_specversion_is_no_cloudevent() -> None:
    assert CloudEvent.of([]) is None
    assert CloudEvent.of([("ce_id", b"e-1"), ("traceparent", PARENT.encode())]) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_specversion", b"0.3"),
        ("ce_specversion", b"secret"),
        ("ce_specversion", b""),
        ("ce_specversion", b"\xff"),
        *((name, value) for name in ("ce_id", "ce_source", "ce_type") for value in (None, b"", b"secret\xff")),
        ("ce_time", b"secret\xff"),
    ],
)
def test_a_cloudevent_that_is_wrong_is_poison_naming_the_header(name: str, value: bytes | None) -> None:
    headers = {**EVENT, name: value}
    with pytest.raises(Poison, match=f"the {name} header ") as caught:
        CloudEvent.of([(header, given) for header, given in headers.items() if given is not None])
    assert caught.value.reason == "wrong_envelope"
    assert "secret" not in str(caught.value)
