"""The API: its operations, from which both the routes and the OpenAPI are made."""

from collections.abc import Awaitable, Callable
from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from moderation_service.console.api import moderations, posts, reviews, verdicts
from moderation_service.console.api.limits import Buckets
from moderation_service.console.api.openapi import document
from moderation_service.console.api.operation import Operation
from moderation_service.console.api.telling import Telling
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict

OPERATIONS = (
    Operation(
        "POST",
        "/moderations",
        moderations.moderate,
        scope="judge",
        body=moderations.ModerationRequest,
        answer=moderations.ModerationAnswer,
        judges=True,
    ),
    Operation(
        "POST",
        "/posts",
        posts.judge,
        scope="judge",
        body=Post,
        answer=Verdict,
        headers={posts.IDEMPOTENCY_KEY: {"type": "string", "minLength": 1, "maxLength": 255}},
        judges=True,
        refusals=("gone", "key_used"),
    ),
    Operation(
        "GET", "/verdicts", verdicts.listed, scope="read", query=verdicts.VerdictQuery, answer=verdicts.VerdictPage
    ),
    Operation("GET", "/verdicts/{verdict_id}", verdicts.one, scope="read", answer=Verdict, refusals=("not_found",)),
    Operation(
        "POST",
        "/reviews",
        reviews.review,
        scope="review",
        body=reviews.ReviewRequest,
        answer=Review,
        status=201,
        refusals=("not_found", "taken"),
    ),
)


def api_routes() -> list[BaseRoute]:
    """What is under /v1, and `/openapi.json`."""
    buckets = Buckets()
    routes = [
        Route(operation.path.replace("_id}", "_id:path}"), _endpoint(operation, buckets), methods=[operation.method])
        for operation in OPERATIONS
    ]
    return [
        Mount("/v1", Telling(Router(routes, redirect_slashes=False))),
        Route("/openapi.json", _openapi),
    ]


def _endpoint(operation: Operation, buckets: Buckets) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request.state.facts["path"] = f"/v1{operation.path}"
        return await operation.answered(request, buckets)

    return answer


@cache
def _document() -> dict[str, object]:
    return document(OPERATIONS)


async def _openapi(_: Request) -> Response:
    return JSONResponse(_document())
