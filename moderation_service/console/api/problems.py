"""Errors of the API as problem JSON (RFC 9457), and the middleware that answers with it and logs each request."""

import json
import traceback
from collections.abc import Mapping
from time import perf_counter
from typing import NamedTuple

import asyncpg
import structlog
from pydantic import BaseModel, Field
from sqlalchemy import exc
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation_service.console.judging import Full, JudgingOff
from moderation_service.errors import Poison, Transient
from moderation_service.telemetry import metrics

MEDIA_TYPE = "application/problem+json"
_PREFIX = "urn:moderation:problem:"
_CLIENT_GONE = 499  # as proxies count requests whose caller left before an answer
_RETRY = {"Retry-After": "1"}
_ROUTER = {404: ("not_found", "there is no such path"), 405: ("wrong_method", "this path has other methods")}

log = structlog.get_logger(__name__)


class _Kind(NamedTuple):
    status: int
    title: str


KINDS = {
    "not_json": _Kind(400, "The body is not JSON"),
    "no_key": _Kind(401, "There is no valid API key"),
    "wrong_scope": _Kind(403, "The API key lacks the scope"),
    "not_found": _Kind(404, "Not found"),
    "wrong_method": _Kind(405, "Method not allowed"),
    "slow_body": _Kind(408, "The body took too long"),
    "not_blocked": _Kind(409, "The verdict does not block the post"),
    "taken": _Kind(409, "The verdict is not this caller's to review"),
    "bank_fixed": _Kind(409, "The bank can't be changed here"),
    "gone": _Kind(410, "The verdict was erased"),
    "too_large": _Kind(413, "The body is too large"),
    "wrong_media_type": _Kind(415, "The media type of the body is not supported"),
    "wrong_fields": _Kind(422, "The request is invalid"),
    "key_used": _Kind(422, "The Idempotency-Key was used for another request"),
    "not_covered": _Kind(422, "No policy covers a category that is required"),
    "not_judgeable": _Kind(422, "The post can't be judged"),
    "too_many": _Kind(429, "Too many requests"),
    "internal": _Kind(500, "Internal error"),
    "full": _Kind(503, "The concurrency limit is reached"),
    "judging_off": _Kind(503, "This console judges nothing"),
    "unavailable": _Kind(503, "A required service does not answer"),
}


class Problem(Exception):  # noqa: N818 - the standard's word
    """The request is refused. `detail` tells the caller what would be right; it is not logged."""

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind)
        self.kind, self.detail, self.headers = kind, detail, dict(headers or {})
        self.status, self.title = KINDS[kind]

    def response(self, request_id: str, trace_id: str) -> Response:
        """The answer."""
        told = ProblemDetails(
            type=_PREFIX + self.kind,
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.kind,
            message=self.detail,
            request_id=request_id,
            trace_id=trace_id,
        )
        body = json.dumps(told.model_dump()).encode()  # ASCII: a detail may name what is not text
        return Response(body, self.status, self.headers, MEDIA_TYPE)


class ProblemDetails(BaseModel):
    """Why a request was refused. `code` and `message` are where OpenAI's clients look for the same."""

    type: str = Field(description=f"`{_PREFIX}` and one of: {', '.join(KINDS)}")
    title: str
    status: int
    detail: str
    code: str
    message: str
    request_id: str
    trace_id: str


class ErrorLoggingMiddleware:
    """Middleware of all under /v1: errors become problems, and one line is logged a request, without content.

    `request.state.headers` goes into the answer, `request.state.facts` into the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = Request(scope, receive)
        begun, state = perf_counter(), request.state
        state.facts, state.headers = {}, {}
        status = 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(state.headers)
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except ClientDisconnect:
            state.facts["problem"] = "disconnected"
        except Exception as error:  # noqa: BLE001 - every one of them has an answer
            problem = _problem_of(error)
            state.facts["problem"] = problem.kind
            await problem.response(state.request_id, state.trace.trace_id)(scope, receive, with_headers)
        route, took_s = state.facts.get("path", "other"), perf_counter() - begun
        metrics.HTTP_REQUESTS.labels(route, status or _CLIENT_GONE).inc()
        metrics.HTTP_SECONDS.labels(route).observe(took_s)
        facts = {"method": request.method, "path": state.facts.pop("path", None), "status": status, **state.facts}
        facts |= {"ms": round(took_s * 1000, 1), "request.id": state.request_id}
        log.info("request", **facts, **{"trace.id": state.trace.trace_id})


def _problem_of(error: Exception) -> Problem:
    """The problem that an error is to the caller. Of an unexpected one, type and stack are logged."""
    match error:
        case Problem():
            problem = error
        case HTTPException(status_code=404 | 405):
            problem = Problem(*_ROUTER[error.status_code], error.headers)
        case JudgingOff():
            problem = Problem("judging_off", str(error))
        case Full():
            problem = Problem("full", str(error), _RETRY)
        case Poison():
            problem = Problem("not_judgeable", str(error))
        case Transient():
            problem = Problem("unavailable", "the engine does not answer", _RETRY)
        case TimeoutError():
            problem = Problem("unavailable", "the time limit is exceeded", _RETRY)
        case (  # asyncpg's own are of a connection that is refused
            exc.OperationalError()
            | exc.InterfaceError()
            | exc.DBAPIError(connection_invalidated=True)
            | exc.TimeoutError()
            | asyncpg.PostgresError()
            | OSError()
        ):
            log.warning("the database does not answer", error=type(error).__name__)
            problem = Problem("unavailable", "the database does not answer", _RETRY)
        case _:
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("a request failed", error=type(error).__name__, stack=stack)
            problem = Problem("internal", "the log has its trace")
    return problem
