"""A post's way as spans, and nothing of it where tracing is off."""

import base64
import gzip
import io
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from PIL import Image
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from moderation_service.app.compose import open_judge
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, KafkaSettings, shipped_policies
from moderation_service.stream.processing_result import ReceivedRecord, log_completion
from moderation_service.stream.processor import RecordProcessor
from moderation_service.telemetry import tracing
from tests.stream.records import record
from tests.stream.support import FakeJudge
from tests.timing import slowness

PRODUCER, THEIR_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = (("traceparent", f"00-{PRODUCER}-{THEIR_SPAN}-01".encode()),)
SECRET = "the words of the post"


@pytest.fixture
def exporter() -> Iterator[Any]:
    """Tracing on, into memory."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    kept = InMemorySpanExporter()
    with tracing._spans_to(SimpleSpanProcessor(kept)):
        yield kept


def post(**fields: object) -> bytes:
    return json.dumps({"post_id": "p", "text": SECRET, **fields}).encode()


def make_image() -> dict[str, str]:
    png = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(png, "PNG")
    return {"data": base64.b64encode(png.getvalue()).decode()}


async def test_a_posts_span_links_to_its_producers_and_has_a_child_a_step(exporter: Any) -> None:
    settings = BareSettings()
    async with open_judge(settings, load_pack(shipped_policies())) as judge:
        arrived = ReceivedRecord.of(record(post(images=[make_image()]), headers=TRACED))
        finished = await RecordProcessor(settings.kafka, judge).process(arrived)
    log_completion(finished)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    steps = {"decode", "match banks", "read images", "score", "attribute", "explain", "publish"}
    assert set(spans) == {"process moderation.posts", *steps}
    whole = spans.pop("process moderation.posts")
    assert [f"{link.context.trace_id:032x}" for link in whole.links] == [PRODUCER]
    assert f"{whole.links[0].context.span_id:016x}" == THEIR_SPAN
    for span in spans.values():
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time
    handed_on = dict(finished.outputs[0].headers)["traceparent"].decode()
    assert handed_on == f"00-{PRODUCER}-{whole.context.span_id:016x}-01"
    assert Verdict.model_validate_json(finished.outputs[0].value or b"").trace_id == PRODUCER
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_a_fetch_is_a_span_and_what_fails_in_it_says_nothing_of_the_post(exporter: Any) -> None:
    with pytest.raises(ValueError, match=SECRET), tracing.step("fetch"):
        raise ValueError(SECRET)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.events) == ("fetch", ())
    assert SECRET not in span.to_json()


async def test_a_dead_letters_span_has_its_reason(exporter: Any) -> None:
    log_completion(await RecordProcessor(KafkaSettings(), FakeJudge()).process(ReceivedRecord.of(record(b"{"))))
    whole = next(span for span in exporter.get_finished_spans() if span.name.startswith("process"))
    assert (whole.attributes["moderation.outcome"], whole.attributes["error.type"]) == ("dead_letter", "not_json")
    assert whole.links == ()


async def test_a_traced_posts_latency_is_an_exemplar_and_an_unsampled_ones_is_not(exporter: Any) -> None:
    processing = RecordProcessor(KafkaSettings(), FakeJudge())
    log_completion(await processing.process(ReceivedRecord.of(record(post(), headers=TRACED))))
    assert f'trace_id="{PRODUCER}"' in generate_latest(REGISTRY).decode()
    other = "1" + PRODUCER[1:]
    unsampled = (("traceparent", f"00-{other}-{THEIR_SPAN}-00".encode()),)
    log_completion(await processing.process(ReceivedRecord.of(record(post(), headers=unsampled))))
    assert other not in generate_latest(REGISTRY).decode()


async def test_without_being_asked_for_nothing_is_traced_and_the_producers_trace_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in tracing.ASKED_BY:
        monkeypatch.delenv(name, raising=False)
    with tracing.exporting():
        finished = await RecordProcessor(KafkaSettings(), FakeJudge()).process(
            ReceivedRecord.of(record(post(), headers=TRACED))
        )
        log_completion(finished)
        assert tracing.step("score") is tracing.step("fetch")
    assert finished.span is tracing.UNTRACED
    assert PRODUCER in dict(finished.outputs[0].headers)["traceparent"].decode()


def test_asked_for_without_the_extra_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Misconfigured, match=r"moderation-service\[otel\]"), tracing.exporting():
        pass


async def test_spans_reach_a_collector_by_otlp(collector: str, got: "Queue[tuple[str, bytes]]") -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        with tracing.exporting():
            log_completion(
                await RecordProcessor(KafkaSettings(), FakeJudge()).process(
                    ReceivedRecord.of(record(post(), headers=TRACED))
                )
            )
    path, body = got.get(timeout=10)
    assert path == "/v1/traces"
    assert bytes.fromhex(PRODUCER) in body
    for named in (b"process moderation.posts", b"publish", b"moderation-service"):
        assert named in body


async def test_a_collector_that_is_away_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    with tracing.exporting():
        log_completion(
            await RecordProcessor(KafkaSettings(), FakeJudge()).process(
                ReceivedRecord.of(record(post(), headers=TRACED))
            )
        )
        begun = time.monotonic()
    assert time.monotonic() - begun < 2 * tracing._FLUSH_S * slowness()


@pytest.fixture
def got() -> "Queue[tuple[str, bytes]]":
    return Queue()


@pytest.fixture
def collector(got: "Queue[tuple[str, bytes]]") -> Iterator[str]:
    """An OTLP collector's address: it takes what comes."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((self.path, gzip_or_not(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def gzip_or_not(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
