"""Login and logout."""

import asyncio
import math
from urllib.parse import parse_qs

import structlog
from sqlalchemy import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from moderation_service.console.accounts import sessions
from moderation_service.console.accounts.guard import check_same_site, local, reader
from moderation_service.console.accounts.throttle import Throttle
from moderation_service.console.accounts.users import known
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages.render import page
from moderation_service.console.store import outbox
from moderation_service.console.store.tables import users
from moderation_service.telemetry import audit

_FORM_BYTES = 8 * 1024
_FORM_S = 10.0
_FIELDS = 8
_WRONG = MsgId("The user or the password is wrong.")
_BUSY = MsgId("Too many logins at once. Try again in a moment.")
_TOO_MANY = MsgId("Too many attempts. Try again in a few minutes.")

log = structlog.get_logger(__name__)


def account_routes() -> list[BaseRoute]:
    """`/login` and `/logout`."""
    return [
        Route("/login", _Login(Throttle()).answer, methods=["GET", "POST"]),
        Route("/logout", _log_out, methods=["POST"]),
    ]


class _Login:
    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    async def answer(self, request: Request) -> Response:
        if request.method != "POST":
            return _form(request, local(request.query_params.get("next", "/")))
        check_same_site(request)
        given = await _read(request)
        name, go_on = given.get("user", ""), local(given.get("next", "/"))
        address = request.client.host if request.client else ""
        with self._throttle.in_hand(address) as may:
            if not may:
                return _too_many(request, go_on, address, _BUSY, 1.0)
            return await self._tried(request, name, given.get("password", ""), address, go_on)

    async def _tried(self, request: Request, name: str, password: str, address: str, go_on: str) -> Response:
        if wait_s := self._throttle.begin(name, address):
            return _too_many(request, go_on, address, _TOO_MANY, wait_s)
        if not await known(context_of(request).database, name, password):
            log.warning("login refused", reason="wrong", address=address)
            if self._throttle.spent(name, address):
                await _tell_of_guesses(request, name, address)
            return _form(request, go_on, error=_WRONG, status=401)
        self._throttle.passed(name, address)
        return await _log_in(request, name, go_on)


def _too_many(request: Request, go_on: str, address: str, error: MsgId, wait_s: float) -> Response:
    log.warning("login refused", reason="throttled", address=address)
    response = _form(request, go_on, error=error, status=429)
    response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response


async def _log_in(request: Request, name: str, go_on: str) -> Response:
    context = context_of(request)
    console = context.settings.console
    entry = audit.AuditEntry(actor=audit.reviewer(name), action="user.logged_in", target=name)
    async with context.transaction() as connection:
        await sessions.close_session(connection, sessions.token_of(request, console))
        token = await sessions.open_session(connection, name, console.session_hours)
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    response = RedirectResponse(go_on, status_code=303)
    sessions.give(response, token, console)
    return response


@reader()
async def _log_out(request: Request) -> Response:
    context = context_of(request)
    console = context.settings.console
    async with context.database.begin() as connection:
        await sessions.close_session(connection, sessions.token_of(request, console))
    response = RedirectResponse("/login", status_code=303)
    sessions.forget(response, console)
    return response


async def _tell_of_guesses(request: Request, name: str, address: str) -> None:
    """On record once a window. A name that is nobody's may be a password in the wrong field, and is not told."""
    context = context_of(request)
    async with context.transaction() as connection:
        there = (await connection.execute(select(users.c.name).where(users.c.name == name))).first()
        target = name if there else "nobody"
        entry = audit.AuditEntry(actor=f"address:{address}", action="login.throttled", target=target)
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))


async def _read(request: Request) -> dict[str, str]:
    """The form's fields. Anybody may send it, so it is bounded in size and time. Raises HTTPException 408, 413, 400."""
    body = bytearray()
    try:
        async with asyncio.timeout(_FORM_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _FORM_BYTES:
                    raise HTTPException(413, f"should be at most {_FORM_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"should be here within {_FORM_S:g} s") from None
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError:
        raise HTTPException(400, "should be a form, urlencoded in UTF-8") from None
    return {name: values[0] for name, values in fields.items()}


def _form(request: Request, go_on: str, *, error: MsgId | None = None, status: int = 200) -> Response:
    return page(request, "login.html", status=status, error=error, next=go_on)
