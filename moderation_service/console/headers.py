"""What every answer carries: the ids of the request and of its trace, and what a browser may do with it."""

import re
import secrets

from starlette.datastructures import Headers as Given
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation_service.contracts.envelope import Trace

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY = {
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


class Headers:
    """Middleware. Endpoints find `request.state.request_id` and `request.state.trace`."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what answers."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with them."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Given(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        trace = Trace.of([("traceparent", Given(scope=scope).get("traceparent", "").encode("latin-1"))])
        scope.setdefault("state", {}).update(request_id=request_id, trace=trace)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
                headers["X-Trace-ID"] = trace.trace_id
            await send(message)

        await self.app(scope, receive, with_headers)
