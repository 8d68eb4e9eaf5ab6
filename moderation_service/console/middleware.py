"""ASGI middleware of the whole console: trusted proxies, ids and security headers of answers, error pages."""

import ipaddress
import re
import secrets
import traceback
from collections.abc import Collection

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation_service.console.catalogues import MsgId
from moderation_service.console.pages.render import NOTHING_CHANGED, page, translated
from moderation_service.contracts.envelope import Trace
from moderation_service.settings import IPAddress, IPNetwork

_MAX_FORWARDED = 16  # addresses of X-Forwarded-For, from its end
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15}):\d{1,5}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""An endpoint's own header goes before each of these."""
_ERROR_TEXTS = {
    403: (MsgId("That is not allowed."), MsgId("Load the page again; your session may be over.")),
    404: (MsgId("There is nothing here."), MsgId("It never existed, or it was erased.")),
    423: (MsgId("This post is in a blind audit."), MsgId("Its verdict is shown once people have answered.")),
}
_OTHER_ERROR = (MsgId("That did not work."), NOTHING_CHANGED)

log = structlog.get_logger(__name__)


class TrustedProxies:
    """Middleware: the caller's address and scheme from `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies.

    `request.client` is the last address that no trusted proxy has, and always an IP address. Each proxy adds the
    address that it saw at the end, so what a caller wrote there themselves stands before it.
    """

    def __init__(self, app: ASGIApp, proxies: Collection[IPNetwork]) -> None:
        """Without `proxies` the headers are ignored."""
        self.app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http" and scope.get("client"):
            headers, (host, port) = Headers(scope=scope), scope["client"]
            peer = address_of(host)
            if peer is not None and self._trusts(peer):
                seen = ",".join(headers.getlist("x-forwarded-for"))
                scope["client"] = (str(self._caller(peer, seen)), port)
                if (scheme := headers.get("x-forwarded-proto", "").strip().lower()) in {"http", "https"}:
                    scope["scheme"] = scheme
        await self.app(scope, receive, send)

    def _caller(self, peer: IPAddress, seen: str) -> IPAddress:
        for written in reversed(seen.rsplit(",", _MAX_FORWARDED)[-_MAX_FORWARDED:]):
            address = address_of(written.strip())
            if address is None:  # what stands before it can't be believed either
                return peer
            peer = address
            if not self._trusts(peer):
                break
        return peer

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._proxies)


def address_of(written: str) -> IPAddress | None:
    """The IP address, also with a port behind it; None if it is none."""
    if found := _WITH_PORT.fullmatch(written):
        written = found[1] or found[2]
    if len(written) > 45:  # noqa: PLR2004 - an IPv6 address that ends in an IPv4 one, the longest
        return None
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return None if "%" in written else address


class ResponseHeaders:
    """Middleware: request id, trace id and security headers; endpoints find `request.state.request_id` and `.trace`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with them."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        trace = Trace.of([("traceparent", Headers(scope=scope).get("traceparent", "").encode("latin-1"))])
        scope.setdefault("state", {}).update(request_id=request_id, trace=trace)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
                headers["X-Trace-ID"] = trace.trace_id
            await send(message)

        await self.app(scope, receive, with_headers)


class ErrorPages:
    """Middleware: a page that fails is answered with an error page; the error is logged, without content."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except ClientDisconnect:
            pass
        except Exception as error:
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("a page failed", error=type(error).__name__, stack=stack)  # noqa: TRY400 - its words may quote
            if begun:
                raise
            try:
                answer = await error_page(Request(scope, receive), error)
            except Exception:  # noqa: BLE001 - what the page itself is made of may have failed
                answer = PlainTextResponse(_OTHER_ERROR[0], 500)
            await answer(scope, receive, send)


async def error_page(request: Request, error: Exception) -> Response:
    """The page for an error; of an HTTPException with its status and headers."""
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    title, text = (translated(request, message) for message in _ERROR_TEXTS.get(status, _OTHER_ERROR))
    response = page(request, "error.html", status=status, title=title, text=text)
    response.headers.update(headers or {})
    return response
