"""A page that fails is answered with a page that says so; what failed is logged, without content."""

import traceback

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation_service.console.pages.error_pages import trouble

log = structlog.get_logger(__name__)


class Failures:
    """Middleware, within that of the headers that every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what answers, or raises."""
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
                answer = await trouble(Request(scope, receive), error)
            except Exception:  # noqa: BLE001 - what the page itself is made of may have failed
                answer = PlainTextResponse("That did not work.", 500)
            await answer(scope, receive, send)
