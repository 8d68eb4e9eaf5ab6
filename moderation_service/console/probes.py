"""The three probes of the console. Its metrics are on a port of their own."""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from moderation_service.console.context import parts_of

_PATIENCE_S = 5.0


def probe_routes() -> list[BaseRoute]:
    """They need no login and no key."""
    return [
        Route("/livez", _alive),
        Route("/startupz", _alive),
        Route("/readyz", _ready),
    ]


async def _alive(_: Request) -> JSONResponse:
    """The server is started when the database is open, and answers while the loop runs."""
    return JSONResponse({"ok": True, "reasons": []})


async def _ready(request: Request) -> JSONResponse:
    """Ready while the database answers.

    An outage of Kafka is told in `held` and takes no console away: what was read is still there to be reviewed.
    """
    parts, reasons = parts_of(request), []
    try:
        async with asyncio.timeout(_PATIENCE_S), parts.database.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        reasons.append("the database does not answer")
    held = sorted(parts.held)
    return JSONResponse({"ok": not reasons, "reasons": reasons, "held": held}, status_code=503 if reasons else 200)
