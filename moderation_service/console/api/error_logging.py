"""Around every request under /v1: what goes wrong becomes a problem, and one line is logged, without content."""

import traceback
from time import perf_counter

import asyncpg
import structlog
from sqlalchemy import exc
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moderation_service.console.api.problems import Problem
from moderation_service.console.judging import Full, JudgingOff
from moderation_service.errors import Poison, Transient
from moderation_service.telemetry import metrics

_CLIENT_GONE = 499  # as proxies count requests whose caller left before an answer
_AGAIN_S = {"Retry-After": "1"}
_ROUTER = {404: ("not_found", "there is no such path"), 405: ("wrong_method", "this path has other methods")}

log = structlog.get_logger(__name__)


class ErrorLoggingMiddleware:
    """Middleware. What is in `request.state.headers` goes into the answer, `request.state.facts` into the log."""

    def __init__(self, app: ASGIApp) -> None:
        """`app` is what answers, or raises."""
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
    """The problem that an error is to the caller. Of what is unexpected the type and the stack are logged."""
    match error:
        case Problem():
            problem = error
        case HTTPException(status_code=404 | 405):
            problem = Problem(*_ROUTER[error.status_code], error.headers)
        case JudgingOff():
            problem = Problem("judging_off", str(error))
        case Full():
            problem = Problem("full", str(error), _AGAIN_S)
        case Poison():
            problem = Problem("not_judgeable", str(error))
        case Transient():
            problem = Problem("unavailable", "the engine does not answer", _AGAIN_S)
        case TimeoutError():
            problem = Problem("unavailable", "it was not done in time", _AGAIN_S)
        case (  # asyncpg's own are of a connection that is refused
            exc.OperationalError()
            | exc.InterfaceError()
            | exc.DBAPIError(connection_invalidated=True)
            | exc.TimeoutError()
            | asyncpg.PostgresError()
            | OSError()
        ):
            log.warning("the database does not answer", error=type(error).__name__)
            problem = Problem("unavailable", "the database does not answer", _AGAIN_S)
        case _:
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.error("a request failed", error=type(error).__name__, stack=stack)
            problem = Problem("internal", "the log has its trace")
    return problem
