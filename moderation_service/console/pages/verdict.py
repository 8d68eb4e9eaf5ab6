"""One verdict with all that proves it, the search for one, and a person's decision on it."""

import json
import re
from typing import Any

from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages import banks
from moderation_service.console.pages.case import ReviewCase, case_of
from moderation_service.console.pages.queue import back, filters_of, go_on, undoable
from moderation_service.console.pages.render import page, translated
from moderation_service.console.pages.words import redacted_all
from moderation_service.console.store import audits, outbox, reviews, verdicts
from moderation_service.console.store.reviews import Decided, NotYours, Unknown
from moderation_service.console.store.verdicts import Stored
from moderation_service.contracts.enums import AttributionClass, ReviewDecision
from moderation_service.contracts.review import PolicyReview
from moderation_service.contracts.verdict import Verdict
from moderation_service.judging.decision import gravest_first
from moderation_service.telemetry import audit

_LISTED = 50
_SEQ = re.compile("[0-9]{1,18}")
_ASKED = ("post_id", "decision", "policy_id")
_REASON_WANTED = MsgId("To overturn a decision, say why.")
TOO_LONG = MsgId("The reason is too long: at most 4,000 characters.")
REFUSED: dict[str, MsgId] = {
    "leased": MsgId("Another reviewer is working on this post."),
    "decided": MsgId("Another reviewer has already decided this post."),
    "superseded": MsgId("This post has a newer verdict."),
    "audited": MsgId("You have reviewed this post already, or it needs the permission adjudicate."),
}


async def search(request: Request) -> Response:
    """The newest verdicts, or those asked for."""
    query = request.query_params
    asked: dict[str, Any] = {name: query[name].strip() for name in _ASKED if query.get(name, "").strip()}
    given = query.get("before", "")
    before = int(given) if _SEQ.fullmatch(given) else None
    found = await verdicts.listed(context_of(request).database, limit=_LISTED + 1, before=before, hidden=False, **asked)
    rows = [{"verdict": one.verdict, **_worst(one.verdict)} for one in found[:_LISTED]]
    return page(
        request,
        "verdicts.html",
        rows=rows,
        asked={**dict.fromkeys(_ASKED), **asked, "before": before},
        query=str(QueryParams(asked)),
        older=found[_LISTED - 1].seq if len(found) > _LISTED else None,
    )


async def show(request: Request) -> Response:
    """A verdict's page."""
    stored = await _stored(request)
    return await _page(
        request, stored, await case_of(request, stored.verdict, asked="pictures" in request.query_params)
    )


async def show_images(request: Request) -> Response:
    """The second asking for restricted images, which is recorded."""
    context, stored = context_of(request), await _stored(request)
    case = await case_of(request, stored.verdict, confirmed=True)
    if case.restricted:
        actor = audit.reviewer(request.state.session.user)
        entry = audit.AuditEntry(actor=actor, action="images.shown", target=stored.verdict.verdict_id)
        async with context.transaction() as connection:
            await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return await _page(request, stored, case)


async def decide(request: Request) -> Response:
    """Keep the decision; from the queue, go on with the next post."""
    stored, form = await _stored(request), await request.form()
    decision = form.get("decision")
    if decision not in tuple(ReviewDecision):
        raise HTTPException(400, "decision: should be allow or block")
    decided = _decided(stored.verdict, ReviewDecision(str(decision)), form)
    overturns = not stored.verdict.decision.needs_review and stored.verdict.decision != str(decision)
    if overturns and not decided.reason:
        return await _again(request, stored, _REASON_WANTED, decided.reason, 422)
    if len(decided.reason) > 4000:  # noqa: PLR2004 - the contract's
        return await _again(request, stored, TOO_LONG, decided.reason, 422)
    try:
        await reviews.decide(context_of(request), request.state.session.user, stored.verdict.verdict_id, decided)
    except Unknown:
        raise HTTPException(404, "no such verdict") from None
    except NotYours as refused:
        return await _again(request, stored, REFUSED[refused.why], decided.reason, 409)
    if "queue" not in form:
        return RedirectResponse(request.url.path.removesuffix("/decide"), status_code=303)
    filters = filters_of(QueryParams(str(form["queue"])))
    await go_on(request, filters, str(form.get("then", "")))
    return back(filters)


def _decided(verdict: Verdict, decision: ReviewDecision, form: FormData) -> Decided:
    """What was said of each policy; of a violated one, where nothing was said, what the decision says."""
    said = []
    for part in verdict.policies:
        answer = form.get(f"violated:{part.policy_id}")
        if answer in {"yes", "no"}:
            violated = answer == "yes"
        elif part.outcome.is_flagged:
            violated = decision is ReviewDecision.BLOCK
        else:
            continue
        given = form.get(f"class:{part.policy_id}")
        place = AttributionClass(str(given)) if given in tuple(AttributionClass) else None
        said.append(PolicyReview(policy_id=part.policy_id, violated=violated, attribution_class=place))
    reason = str(form.get("reason", "")).strip()
    return Decided(decision, tuple(said), reason, further="queue" not in form)


async def _stored(request: Request) -> Stored:
    stored = await verdicts.by_id(context_of(request).database, request.path_params["verdict_id"])
    if stored is None:
        raise HTTPException(404, "no such verdict")
    if await audits.hides(context_of(request).database, stored.verdict.verdict_id):
        raise HTTPException(423, "people judge this post blind; its verdict is shown once they have answered")
    return stored


async def _again(request: Request, stored: Stored, wrong: MsgId, reason: str, status: int) -> Response:
    said = translated(request, wrong)
    return await _page(request, stored, await case_of(request, stored.verdict), said, reason, status)


async def _page(
    request: Request, stored: Stored, case: ReviewCase, wrong: str | None = None, reason: str = "", status: int = 200
) -> Response:
    context, verdict = context_of(request), stored.verdict
    revisions = await verdicts.of_post(context.database, verdict.post_id)
    statement = verdict.statement_of_reasons
    made = await reviews.of_verdict(context.database, verdict.verdict_id)
    metadata, *reasons = await redacted_all(
        json.dumps(verdict.metadata, ensure_ascii=False, indent=2), *(review.reason for review in made)
    )
    return page(
        request,
        "verdict.html",
        status=status,
        verdict=verdict,
        case=case,
        reviews=list(zip(made, reasons, strict=True)),
        revisions=revisions,
        newer=next((one.verdict for one in revisions if one.newest and one.seq != stored.seq), None),
        metadata=metadata,
        statement={name: _plain(value) for name, value in statement.model_dump(mode="json").items()}
        if statement
        else {},
        pack_digest=context.pack.digest,
        bank_choices=banks.choices(request) if any(image.sha256 for image in verdict.content.images) else (),
        last=await undoable(request),
        from_queue=False,
        wrong=wrong,
        reason=reason,
        query="",
        then="",
    )


def _worst(verdict: Verdict) -> dict[str, Any]:
    flagged = gravest_first(verdict.policies)
    return {"worst": flagged[0] if flagged else None, "more": len(flagged) - 1}


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
