"""The console as one ASGI application: probes, API and pages. Its metrics are on a port of their own."""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from moderation_service.console.api.routes import api_routes
from moderation_service.console.context import ConsoleContext, context_of
from moderation_service.console.middleware import ErrorPages, ResponseHeaders, TrustedProxies, error_page
from moderation_service.console.pages.routes import page_routes

_DATABASE_TIMEOUT_S = 5.0


def build(context: ConsoleContext) -> Starlette:
    """All routes. Probes need no login and no key."""
    probes = (Route("/livez", _alive), Route("/startupz", _alive), Route("/readyz", _ready))
    app = Starlette(
        routes=[*probes, *api_routes(), *page_routes()],
        middleware=[
            Middleware(TrustedProxies, proxies=context.settings.console.trusted_proxies),
            Middleware(ResponseHeaders),
            Middleware(ErrorPages),
        ],
        exception_handlers={HTTPException: error_page},
    )
    app.state.context = context
    return app


async def _alive(_: Request) -> JSONResponse:
    """The server starts once the database is open, and answers while the loop runs."""
    return JSONResponse({"ok": True, "reasons": []})


async def _ready(request: Request) -> JSONResponse:
    """Ready while the database answers.

    An outage of Kafka stands in `held` and takes no console away: what was read can still be reviewed.
    """
    context, reasons = context_of(request), []
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT_S), context.database.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        reasons.append("the database does not answer")
    held = sorted(context.held)
    return JSONResponse({"ok": not reasons, "reasons": reasons, "held": held}, status_code=503 if reasons else 200)
