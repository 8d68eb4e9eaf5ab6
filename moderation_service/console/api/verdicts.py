"""`GET /v1/verdicts`: what was decided, by id or the newest first. `POST /v1/reviews`, `/v1/appeals`: people's part."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import appeals, reviews, verdicts
from moderation_service.contracts.base import Contract, Identifier, Moment
from moderation_service.contracts.enums import Decision, ReviewDecision
from moderation_service.contracts.review import PolicyReview
from moderation_service.contracts.verdict import Verdict

_WHY = {
    "leased": "another reviewer is working on it",
    "decided": "it is decided; with further: true this is one more review",
    "audited": "people judge it blind just now; with further: true this is one more review",
    "superseded": "a newer verdict took its place; with further: true it is reviewed all the same",
}


class VerdictQuery(BaseModel):
    """Which verdicts, and from where on."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[int, Field(ge=1, lt=2**63, description="`next_before` of the page before")] | None = None
    decision: Decision | None = None
    policy_id: (
        Annotated[Identifier, Field(description="violated, or asked about where the verdict abstains")] | None
    ) = None
    post_id: Identifier | None = None


class VerdictPage(BaseModel):
    """Verdicts, those that came last first. `next_before` is null on the last page."""

    verdicts: list[Verdict]
    next_before: int | None


async def listed(call: Call) -> Response:
    """List verdicts, those that came last first. Those with a route only for keys with the scope `child_safety` too."""
    query: VerdictQuery = call.query
    wanted: dict[str, Any] = query.model_dump()
    limit = wanted.pop("limit")
    routed = call.key.may("child_safety")
    found = await verdicts.listed(call.context.database, limit=limit + 1, routed=routed, **wanted)
    more = found[limit - 1].seq if len(found) > limit else None
    page = VerdictPage(verdicts=[stored.verdict for stored in found[:limit]], next_before=more)
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


async def one(call: Call) -> Response:
    """Give one verdict, as it was published; one with a route to keys with the scope `child_safety` too."""
    routed = call.key.may("child_safety")
    stored = await verdicts.by_id(call.context.database, call.request.path_params["verdict_id"], routed=routed)
    if stored is None:
        raise Problem("not_found", "there is no verdict with this id")
    return Response(stored.verdict.to_json(), media_type="application/json")


class ReviewRequest(Contract):
    """A person's answer. `reviewer` names them within the caller's own platform, and stands behind the key's name.

    `further`: it is meant as one more review, of a verdict that is decided or out of date.
    """

    verdict_id: Identifier
    decision: ReviewDecision
    policies: Annotated[tuple[PolicyReview, ...], Field(max_length=1000, strict=False)] = ()
    reason: Annotated[str, Field(max_length=4000)] = ""
    reviewer: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    further: bool = False


async def review(call: Call) -> Response:
    """Keep a review, end the verdict's job, and publish it. It goes to the review topic like one made in the pages."""
    asked: ReviewRequest = call.body
    decided = reviews.Decided(asked.decision, asked.policies, asked.reason, asked.further)
    try:
        routed = call.key.may("child_safety")
        made = await reviews.decide(call.context, call.actor(asked.reviewer), asked.verdict_id, decided, routed=routed)
    except reviews.Unknown:
        raise Problem("not_found", "there is no verdict with this id") from None
    except reviews.NotYours as refused:
        raise Problem("taken", _WHY[refused.why]) from None
    return Response(made.model_dump_json(), 201, media_type="application/json")


class AppealRequest(Contract):
    """A complaint of the post's author or another about the block. `filed_by` stands behind the key's name."""

    verdict_id: Identifier
    filed_by: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Appeal(Contract):
    """An appeal that waits for a person. Its outcome is the next review of the verdict, on the review topic."""

    appeal_id: Identifier
    verdict_id: Identifier
    post_id: Identifier
    filed_at: Moment


async def appeal(call: Call) -> Response:
    """Put a verdict that blocks into the queue, for a person to decide. While an appeal waits, that one is given."""
    asked: AppealRequest = call.body
    try:
        filed = await appeals.file(call.context, asked.verdict_id, actor=call.actor(asked.filed_by))
    except reviews.Unknown:
        raise Problem("not_found", "there is no verdict with this id") from None
    except appeals.NotBlocked:
        why = "the post is not blocked by this verdict, or a newer verdict took its place"
        raise Problem("not_blocked", why) from None
    made = Appeal(**asdict(filed))
    return Response(made.model_dump_json(), 201, media_type="application/json")
