"""The API: its operations, from which both the routes and the OpenAPI are made."""

from collections.abc import Awaitable, Callable
from functools import cache

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router

from moderation_service.console.api import banks, moderations, policies, posts, quality, verdicts
from moderation_service.console.api.openapi import document
from moderation_service.console.api.operation import Operation
from moderation_service.console.api.problems import ErrorLoggingMiddleware
from moderation_service.console.api.rate_limiter import RateLimiter
from moderation_service.contracts.bank import BankEntry
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict

OPERATIONS = (
    Operation(
        "moderations_moderate",
        "POST",
        "/moderations",
        moderations.moderate,
        scope="judge",
        body=moderations.ModerationRequest,
        answer=moderations.ModerationAnswer,
        judges=True,
        refusals=("not_covered",),
    ),
    Operation("policies_listed", "GET", "/policies", policies.listed, scope="judge", answer=policies.PolicyList),
    Operation(
        "posts_judge",
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
        "deletions_delete",
        "DELETE",
        "/posts/{post_id}",
        posts.delete,
        scope="admin",
        status=204,
        refusals=("wrong_fields",),
    ),
    Operation(
        "verdicts_listed",
        "GET",
        "/verdicts",
        verdicts.listed,
        scope="read",
        query=verdicts.VerdictQuery,
        answer=verdicts.VerdictPage,
    ),
    Operation(
        "verdicts_one",
        "GET",
        "/verdicts/{verdict_id}",
        verdicts.one,
        scope="read",
        answer=Verdict,
        refusals=("not_found",),
    ),
    Operation(
        "reviews_review",
        "POST",
        "/reviews",
        verdicts.review,
        scope="review",
        body=verdicts.ReviewRequest,
        answer=Review,
        status=201,
        refusals=("not_found", "taken"),
    ),
    Operation(
        "appeals_file",
        "POST",
        "/appeals",
        verdicts.appeal,
        scope="review",
        body=verdicts.AppealRequest,
        answer=verdicts.Appeal,
        status=201,
        refusals=("not_found", "not_blocked"),
    ),
    Operation(
        "quality_estimated",
        "GET",
        "/quality",
        quality.estimated,
        scope="read",
        query=quality.QualityQuery,
        answer=quality.QualityEstimates,
    ),
    Operation("banks_listed", "GET", "/banks", banks.listed, scope="banks", answer=banks.BankList),
    Operation(
        "banks_added",
        "POST",
        "/banks/{bank}/entries",
        banks.add,
        scope="banks",
        body=banks.EntryRequest,
        answer=BankEntry,
        status=201,
        refusals=("not_found", "bank_fixed"),
    ),
    Operation(
        "banks_matched",
        "GET",
        "/banks/{bank}/entries/{entry_id}/matches",
        banks.past_matches,
        scope="banks",
        answer=banks.PastMatches,
        refusals=("not_found",),
    ),
    Operation(
        "banks_reviewed",
        "POST",
        "/banks/{bank}/entries/{entry_id}/matches/review",
        banks.send_to_review,
        scope="banks",
        answer=banks.Sent,
        refusals=("not_found", "bank_fixed"),
    ),
    Operation(  # behind the two above, whose paths its own takes in
        "banks_removed",
        "DELETE",
        "/banks/{bank}/entries/{entry_id}",
        banks.remove,
        scope="banks",
        status=204,
        refusals=("not_found", "bank_fixed"),
    ),
)


class _Anything(PathConvertor):
    """The rest of a path. Starlette's own `path` ends at a line feed, and an id may hold one."""

    regex = "(?s:.*)"


register_url_convertor("anything", _Anything())


def api_routes() -> list[BaseRoute]:
    """What is under /v1, and `/openapi.json`."""
    rate_limiter = RateLimiter()
    routes = [
        Route(f"/v1{one.path}".replace("_id}", "_id:anything}"), _endpoint(one, rate_limiter), methods=[one.method])
        for one in OPERATIONS
    ]
    return [
        Route("/v1/{rest:anything}", ErrorLoggingMiddleware(Router(routes, redirect_slashes=False))),
        Route("/openapi.json", _openapi),
    ]


def _endpoint(operation: Operation, rate_limiter: RateLimiter) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        request.state.facts["path"] = f"/v1{operation.path}"
        return await operation.answered(request, rate_limiter)

    return answer


@cache
def _document() -> dict[str, object]:
    return document(OPERATIONS)


async def _openapi(_: Request) -> Response:
    return JSONResponse(_document())
