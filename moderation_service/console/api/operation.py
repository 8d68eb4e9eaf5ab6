"""One operation of the API: what it takes and gives, said once for the route and for the OpenAPI; and its guard."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.accounts import api_keys
from moderation_service.console.api import bodies
from moderation_service.console.api.problems import Problem
from moderation_service.console.api.rate_limiter import RateLimiter
from moderation_service.console.context import ConsoleContext, context_of
from moderation_service.console.judging import Full, JudgingSlot, check_free, seat
from moderation_service.contracts.envelope import Trace
from moderation_service.contracts.verdict import Verdict

_SMALL_BYTES = 64 * 1024


class NoQuery(BaseModel):
    """None is looked at."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in. `body` and `query` are of the operation's models."""

    request: Request
    context: ConsoleContext
    key: api_keys.Key
    trace: Trace
    body: Any
    raw: bytes
    query: Any
    seat: JudgingSlot | None

    def actor(self, person: str | None = None) -> str:
        """Who asks, as reviews and audit entries name them: the key, and the `person` within the caller's platform."""
        return f"key:{self.key.name}" + (f"/{person}" if person else "")

    def tell_of(self, verdicts: Sequence[Verdict]) -> None:
        """Add to the line that is logged of this request: how many were decided how, and what became of images."""
        decided = Counter(verdict.decision for verdict in verdicts)
        images = Counter(image.status for verdict in verdicts for image in verdict.content.images)
        self.request.state.facts.update(decided=dict(decided), images=dict(images))

    @property
    def seated(self) -> JudgingSlot:
        """The seat of an operation that judges."""
        if self.seat is None:
            msg = "this operation does not judge"
            raise RuntimeError(msg)
        return self.seat


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path under /v1. `refusals` are the kinds of Problem that do not follow from the other fields."""

    operation_id: str
    method: Literal["DELETE", "GET", "POST"]
    path: str
    endpoint: Callable[[Call], Awaitable[Response]]
    scope: api_keys.Scope
    answer: type[BaseModel] | None = None
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] = NoQuery
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)  # that a request may have, with their schemas
    judges: bool = False
    refusals: tuple[str, ...] = ()

    async def answered(self, request: Request, rate_limiter: RateLimiter) -> Response:
        """Let a request in and answer it, or raise Problem.

        Bodies being read are bounded in number too, also by key; a seat is taken once the body is there, so that slow
        bodies keep nobody else from being judged.
        """
        context = context_of(request)
        key = await _let_in(request, context, self.scope, rate_limiter)
        query = self._query(request)
        raw, body = b"", None
        if self.judges:
            check_free(context)
        if self.body is not None:
            with context.bodies.take(key=key.key_id) as may:
                if not may:
                    raise Full
                limit = context.settings.kafka.max_message_bytes if self.judges else _SMALL_BYTES
                raw = await bodies.read(request, limit)
                body = await bodies.parsed(self.body, raw)
        with seat(context) if self.judges else nullcontext() as taken:
            return await self.endpoint(Call(request, context, key, request.state.trace, body, raw, query, taken))

    def _query(self, request: Request) -> BaseModel:
        try:
            return self.query.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise bodies.refused(error) from None


async def _let_in(
    request: Request, context: ConsoleContext, scope: api_keys.Scope, rate_limiter: RateLimiter
) -> api_keys.Key:
    kind, _, presented = request.headers.get("authorization", "").partition(" ")
    key = await api_keys.check(context.database, presented.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise Problem("no_key", "should come with Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
    request.state.facts["key"] = key.key_id
    left = rate_limiter.take(key.key_id, context.settings.console.requests_per_minute)
    request.state.headers.update(left.headers())
    if left.wait_s:
        raise Problem("too_many", f"should be at most {left.of} requests a minute; retry in {left.wait_s} s")
    if not key.may(scope):
        asked = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
        raise Problem("wrong_scope", f"should be a key with the scope {scope}", asked)
    return key
