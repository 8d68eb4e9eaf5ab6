"""Traces by OpenTelemetry: a span a post, linked to its producer's, with a child a step. Off, and free, by default.

The standard variables turn it on (`OTEL_EXPORTER_OTLP_ENDPOINT` and its kin) where the extra `otel` is installed. No
span holds an error's own words: they may quote a post.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from moderation_service import __version__
from moderation_service.errors import Misconfigured

ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_S = 2.0
_FREE = nullcontext()
_tracer: Any = None


class RecordSpan:
    """One record's way through the line, untraced."""

    ids: tuple[str, str, str] | None = None
    """Its trace, its span in it and the flags, as `traceparent` spells them."""
    exemplar: dict[str, str] | None = None

    def judged(self, outcome: str, reason: str | None) -> None:
        """It became something to publish."""

    def published(self) -> None:
        """That is out, and its offset committed."""


UNTRACED = RecordSpan()


class _Traced(RecordSpan):
    def __init__(self, topic: str, headers: Iterable[tuple[str, bytes]]) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier = {name: value.decode("ascii", "replace") for name, value in headers if name.startswith("trace")}
        producer = TraceContextTextMapPropagator().extract(carrier, context.Context())
        theirs = trace.get_current_span(producer).get_span_context()
        self._span = _tracer.start_span(
            f"process {topic}",
            context=producer,  # its child too, or the verdict's trace would not be the post's
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(theirs)] if theirs.is_valid else [],
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
            },
        )
        ours = self._span.get_span_context()
        self.ids = (f"{ours.trace_id:032x}", f"{ours.span_id:016x}", f"{ours.trace_flags:02x}")
        self.exemplar = {"trace_id": self.ids[0], "span_id": self.ids[1]} if ours.trace_flags.sampled else None
        self._inside = trace.set_span_in_context(self._span, context.Context())
        context.attach(self._inside)  # for as long as the record's task lives

    def judged(self, outcome: str, reason: str | None) -> None:
        self._span.set_attribute("moderation.outcome", outcome)
        if reason is not None:
            self._span.set_attribute("error.type", reason)
        self._publishing = _tracer.start_span("publish", context=self._inside)

    def published(self) -> None:
        self._publishing.end()
        self._span.end()


def begin(topic: str, headers: Iterable[tuple[str, bytes]]) -> RecordSpan:
    """A record's way begins, in the task that judges it: `step` makes children of its span."""
    return UNTRACED if _tracer is None else _Traced(topic, headers)


def step(name: str) -> AbstractContextManager[object]:
    """A step of the line, as a child of the span it is within."""
    if _tracer is None:
        return _FREE
    quiet: AbstractContextManager[object] = _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    )
    return quiet


@contextmanager
def exporting() -> Iterator[None]:
    """Trace during the block, if the environment asks for it. Raises Misconfigured where it can't be done."""
    asked = [name for name in ASKED_BY if os.environ.get(name)]
    if not asked or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        msg = f"{asked[0]} asks for traces, and OpenTelemetry is missing: pip install 'moderation-service[otel]'"
        raise Misconfigured(msg) from error
    with _spans_to(BatchSpanProcessor(OTLPSpanExporter())):
        yield


@contextmanager
def _spans_to(processor: Any) -> Iterator[None]:  # noqa: ANN401 - a class of the extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 - one a process, as is the environment that asks for it
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "moderation-service"}
    resource = Resource.create({**named, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("moderation_service", __version__)
    try:
        yield
    finally:
        _tracer = None
        # a collector that is away must not hold up the end
        flushing = threading.Thread(target=provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
