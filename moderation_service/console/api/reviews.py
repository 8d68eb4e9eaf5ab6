"""`POST /v1/reviews`: what people decided elsewhere, on a verdict that is here."""

from typing import Annotated, Literal

from pydantic import Field
from starlette.responses import Response

from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import reviews
from moderation_service.contracts.base import Contract, Identifier
from moderation_service.contracts.review import PolicyReview

_WHY = {
    "leased": "another reviewer has it in work",
    "decided": "it is decided; with further: true this is one more review",
    "superseded": "a newer verdict took its place; with further: true it is reviewed all the same",
}


class ReviewRequest(Contract):
    """A person's answer. `reviewer` names them within the caller's own platform, and stands behind the key's name.

    `further`: it is meant as one more review, of a verdict that is decided or out of date.
    """

    verdict_id: Identifier
    decision: Literal["allow", "block"]
    policies: Annotated[tuple[PolicyReview, ...], Field(max_length=1000, strict=False)] = ()
    reason: Annotated[str, Field(max_length=4000)] = ""
    reviewer: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    further: bool = False


async def review(call: Call) -> Response:
    """Keep a review, end the verdict's job, and publish it. It goes to the review topic like one made in the pages."""
    asked: ReviewRequest = call.body
    reviewer = f"key:{call.key.name}" + (f"/{asked.reviewer}" if asked.reviewer else "")
    decided = reviews.Decided(asked.decision, asked.policies, asked.reason, asked.further)
    try:
        made = await reviews.decide(call.parts, reviewer, asked.verdict_id, decided)
    except reviews.Unknown:
        raise Problem("not_found", "there is no verdict with this id") from None
    except reviews.NotYours as refused:
        raise Problem("taken", _WHY[refused.why]) from None
    return Response(made.model_dump_json(), 201, media_type="application/json")
