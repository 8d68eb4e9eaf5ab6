"""`GET /v1/verdicts`: what was decided, by id or the newest first."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import verdicts
from moderation_service.contracts.base import Identifier
from moderation_service.contracts.verdict import Decision, Verdict


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
    """List verdicts, those that came last first."""
    query: VerdictQuery = call.query
    wanted: dict[str, Any] = query.model_dump()
    limit = wanted.pop("limit")
    found = await verdicts.listed(call.parts.database, limit=limit + 1, **wanted)
    more = found[limit - 1].seq if len(found) > limit else None
    page = VerdictPage(verdicts=[stored.verdict for stored in found[:limit]], next_before=more)
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


async def one(call: Call) -> Response:
    """Give one verdict, as it was published."""
    stored = await verdicts.by_id(call.parts.database, call.request.path_params["verdict_id"])
    if stored is None:
        raise Problem("not_found", "there is no verdict with this id")
    return Response(stored.verdict.to_json(), media_type="application/json")
