"""Record headers: CloudEvents 1.0 in binary mode, and W3C trace context."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Poison

Headers = list[tuple[str, bytes]]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_CE_VERSION = re.compile(r"1\.\d+")
_CE_REQUIRED = ("ce_id", "ce_source", "ce_type")
_JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace a post belongs to: its id (32 hex digits), our own span in it (16), the sampling flags."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes]]) -> Self:
        """Continue the producer's trace, or begin one. A malformed `traceparent` is ignored, as the standard asks."""
        value = dict(headers).get("traceparent", b"").decode("ascii", "replace")
        match = _TRACEPARENT.match(value)
        if match and not value.startswith("ff") and match["trace"].strip("0") and match["span"].strip("0"):
            return cls(match["trace"], secrets.token_hex(8), match["flags"])
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @property
    def traceparent(self) -> str:
        """The header that hands the trace on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What a producer says of the event that carries a post: CloudEvents 1.x in binary mode."""

    id: str
    source: str
    type: str
    time: str | None = None

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes]]) -> Self | None:
        """Read the `ce_` headers; None without `ce_specversion`. Raises Poison naming the header that is wrong."""
        found = {name: value for name, value in headers if name.startswith("ce_")}
        if "ce_specversion" not in found:
            return None
        read = {name: _utf8(name, found.get(name, b"")) for name in ("ce_specversion", *_CE_REQUIRED, "ce_time")}
        if not _CE_VERSION.fullmatch(read["ce_specversion"]):
            msg = "the ce_specversion header is not 1.x; send CloudEvents 1.0"
            raise Poison("wrong_envelope", msg)
        for name in _CE_REQUIRED:
            if not read[name]:
                msg = f"the {name} header is missing or empty; CloudEvents asks for it"
                raise Poison("wrong_envelope", msg)
        return cls(read["ce_id"], read["ce_source"], read["ce_type"], read["ce_time"] or None)


def _utf8(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        msg = f"the {name} header is not UTF-8"
        raise Poison("wrong_envelope", msg) from None


def check_content_type(headers: Iterable[tuple[str, bytes]]) -> None:
    """Raise Poison where the producer says that the value is not plain JSON (no header at all is fine)."""
    for name, value in headers:
        if name.lower() != "content-type":
            continue
        content_type = (value or b"").decode("latin-1")
        if content_type.lower().startswith("application/cloudevents"):
            msg = "structured-mode CloudEvents are not read; send binary mode (ce_ headers, the post as the value)"
            raise Poison("wrong_content_type", msg)
        if not _JSON.fullmatch(content_type.strip()):
            msg = "the content-type header names no JSON type; send application/json"
            raise Poison("wrong_content_type", msg)


def verdict_headers(verdict: Verdict, trace: Trace) -> Headers:
    """The headers of a verdict's record."""
    headers = event_headers("verdict", verdict.verdict_id, verdict.post_id, verdict.judged_at)
    return [*headers, ("traceparent", trace.traceparent.encode())]


def event_headers(kind: str, id_: str, subject: str, at: datetime) -> Headers:
    """The headers of a record of ours: a CloudEvent with this id, about a post or what else `subject` names."""
    named = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_source": "/moderation-service",
        "ce_type": f"moderation.{kind}.v1",
        "ce_subject": subject,
        "ce_time": at.isoformat(),
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in named.items()]
