"""Audits: the blind answer to a post, and the pictures that it is given on."""

from collections.abc import Collection
from datetime import UTC, datetime

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages.blind_case import BlindCase, blind_case, policies_asked
from moderation_service.console.pages.queue import auditor_of, back, filters_of, go_on
from moderation_service.console.pages.render import NOTHING_CHANGED, page, translated
from moderation_service.console.pages.verdict import REFUSED, TOO_LONG
from moderation_service.console.store import outbox, queue, reviews, verdicts
from moderation_service.console.store.queue import Job
from moderation_service.console.store.reviews import NotYours, Unknown
from moderation_service.contracts.review import PolicyReview
from moderation_service.telemetry import audit

_MARK_ONE = MsgId("Mark what is violated, or say that nothing is.")
_MARKED = MsgId("Something is marked as violated; send that, or unmark it.")


async def decide(request: Request) -> Response:
    """Keep a blind answer, and go on with the next post."""
    context, verdict_id, form = context_of(request), request.path_params["verdict_id"], await request.form()
    stored = await verdicts.by_id(context.database, verdict_id)
    if stored is None:
        raise HTTPException(404, "no such verdict")
    asked, marked = policies_asked(request, stored.verdict), {str(one) for one in form.getlist("violated")}
    reason = str(form.get("reason", "")).strip()
    if wrong := _wrong(str(form.get("answer", "")), marked, reason):
        return await _again(request, wrong, 422, marked)
    said = tuple(PolicyReview(policy_id=one, violated=one in marked) for one in asked)
    try:
        await reviews.answer_audit(context, auditor_of(request), verdict_id, said, reason)
    except Unknown:
        raise HTTPException(404, "no such audit") from None
    except NotYours as refused:
        return await _again(request, REFUSED[refused.why], 409, marked)
    filters = filters_of(QueryParams(str(form.get("queue", ""))))
    await go_on(request, filters, str(form.get("then", "")))
    return back(filters)


async def show_images(request: Request) -> Response:
    """Show restricted images to who has the audit in hand, which is recorded."""
    context, job = context_of(request), await _held(request)
    actor = audit.reviewer(request.state.session.user)
    entry = audit.AuditEntry(actor=actor, action="images.shown", target=job.verdict_id)
    async with context.transaction() as connection:
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return _page(request, await blind_case(request, job, confirmed=True))


def _wrong(answer: str, marked: set[str], reason: str) -> MsgId | None:
    if len(reason) > 4000:  # noqa: PLR2004 - the contract's
        return TOO_LONG
    match answer:
        case "marked":
            return None if marked else _MARK_ONE
        case "none":
            return _MARKED if marked else None
        case _:
            raise HTTPException(400, "answer: should be marked or none")


async def _held(request: Request) -> Job:
    """The audit that the reader has in hand. Raises HTTPException 404."""
    user, now = request.state.session.user, datetime.now(UTC)
    job = await queue.held(context_of(request).database, user, now=now)
    if job is None or job.audit is None or job.verdict_id != request.path_params["verdict_id"]:
        raise HTTPException(404, "no such audit in hand")
    return job


async def _again(request: Request, wrong: MsgId, status: int, marked: Collection[str]) -> Response:
    try:
        job = await _held(request)
    except HTTPException:
        return page(
            request,
            "error.html",
            status=status,
            title=translated(request, wrong),
            text=translated(request, NOTHING_CHANGED),
        )
    return _page(request, await blind_case(request, job), translated(request, wrong), status, marked)


def _page(
    request: Request, blind: BlindCase, wrong: str | None = None, status: int = 200, marked: Collection[str] = ()
) -> Response:
    return page(request, "audit.html", status=status, blind=blind, marked=marked, wrong=wrong, query="", then="")
