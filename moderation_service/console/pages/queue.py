"""The queue: what waits, the post in hand, and what is done with it."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moderation_service.console.context import context_of
from moderation_service.console.pages.blind_case import blind_case
from moderation_service.console.pages.case import case_of
from moderation_service.console.pages.render import page
from moderation_service.console.pages.words import redacted_all
from moderation_service.console.store import queue, reviews, routed, verdicts
from moderation_service.console.store.audits import Auditor
from moderation_service.console.store.queue import Filters, Job
from moderation_service.console.store.reviews import UndoableReview
from moderation_service.contracts.enums import Decision

_LISTED = 50
_TO_REVIEW = {decision for decision in Decision if decision.needs_review}
_FIELDS = ("policy_id", "attribution", "language", "abstain_reason", "decision")


async def show(request: Request) -> Response:
    """The queue with the post in hand."""
    context, user, now = context_of(request), request.state.session.user, datetime.now(UTC)
    filters = filters_of(request.query_params)
    jobs = await queue.listed(context.database, filters, limit=_LISTED, now=now, auditor=auditor_of(request))
    held = await queue.held(context.database, user, now=now)
    stored = await verdicts.by_id(context.database, held.verdict_id) if held and not held.audit else None
    free = [job for job in jobs if job.leased_by in {None, user}]
    before, after = _beside(free, held)
    heads = await queue.headlines(context.database, [job.seq for job in jobs])
    snippets = await redacted_all(*(head.text for head in heads.values()))
    severity = {policy.id: policy.severity for policy in context.pack.policies}
    return page(
        request,
        "queue.html",
        jobs=jobs,
        gravest_first=lambda ids: sorted(ids, key=lambda one: -severity.get(one, 0)),
        heads=heads,
        snippets=dict(zip(heads, snippets, strict=True)),
        counts=await queue.counts(context.database, now=now, blind=False),
        filters=filters,
        post_languages=context.pack.languages,
        filtered=len([value for value in asdict(filters).values() if value]),
        query=query_of(filters),
        held=held,
        current=held.verdict_id if held else None,
        before=before.seq if before else None,
        after=after.seq if after else None,
        then=after.verdict_id if after else "",
        case=await case_of(request, stored.verdict) if stored else None,
        blind=await blind_case(request, held) if held and held.audit else None,
        marked=(),
        last=await undoable(request),
        gone="gone" in request.query_params,
        behind=bool(context.held),
        lease_min=round(context.settings.console.lease_s / 60) or 1,
        from_queue=True,
        wrong=None,
        reason="",
    )


async def take(request: Request) -> Response:
    """Lease this post and hand back the one in hand."""
    verdict_id = request.path_params["verdict_id"]
    await _hand_back(request, but=verdict_id)
    job = await _lease(request, verdict_id)
    return back(filters_of(request.query_params), gone=job is None)


async def take_next(request: Request) -> Response:
    """Lease the first post that nobody has."""
    filters = filters_of(request.query_params)
    await go_on(request, filters, "")
    return back(filters)


async def release(request: Request) -> Response:
    """Hand this post back, and go on with the one after it."""
    context, user = context_of(request), request.state.session.user
    form = await request.form()
    filters = filters_of(QueryParams(str(form.get("queue", ""))))
    await queue.release(context.database, user, request.path_params["verdict_id"])
    if then := str(form.get("then", "")):
        await _lease(request, then)
    return back(filters)


async def undo(request: Request) -> Response:
    """Take the last decision back; its post is in hand again."""
    context, user, now = context_of(request), request.state.session.user, datetime.now(UTC)
    last, review_id = await undoable(request), request.path_params["review_id"]
    before = await queue.held(context.database, user, now=now)
    if last and last.review_id == review_id and await reviews.undo(context, user, review_id):
        if before:
            await queue.release(context.database, user, before.verdict_id)
        again = await queue.held(context.database, user, now=datetime.now(UTC))
        if again is None or again.verdict_id != last.verdict_id:  # there was no job: it was a block or an allow
            name = "child_safety" if await routed.by_id(context.database, last.verdict_id) else "verdict"
            return RedirectResponse(request.url_for(name, verdict_id=last.verdict_id).path, status_code=303)
    return back(filters_of(request.query_params))


async def go_on(request: Request, filters: Filters, then: str) -> None:
    """Lease the post `then`, or the first that nobody has."""
    context, user = context_of(request), request.state.session.user
    lease_s, auditor = context.settings.console.lease_s, auditor_of(request)
    if not (then and await _lease(request, then)):
        await queue.lease_next(context.database, user, filters, now=datetime.now(UTC), lease_s=lease_s, auditor=auditor)


async def undoable(request: Request) -> UndoableReview | None:
    """The reader's last review, while it can be taken back."""
    context = context_of(request)
    since = datetime.now(UTC) - timedelta(seconds=context.settings.console.undo_s)
    return await reviews.last_review(context.database, request.state.session.user, since)


def auditor_of(request: Request) -> Auditor:
    """The reader as one who answers audits."""
    session, per_day = request.state.session, context_of(request).settings.audit.per_day
    return Auditor(session.user, "adjudicate" in session.permissions, per_day)


def filters_of(query: QueryParams) -> Filters:
    """The filters in an address; `why` stands for a decision, or for a reason to abstain."""
    given = {name: query[name] for name in _FIELDS if query.get(name)}
    if why := query.get("why"):
        given |= {"decision": why} if why in _TO_REVIEW else {"abstain_reason": why}
    return Filters(**given)


def query_of(filters: Filters) -> str:
    """The filters as an address has them."""
    return urlencode({name: value for name, value in asdict(filters).items() if value})


def back(filters: Filters, *, gone: bool = False) -> Response:
    """To the queue."""
    query = "&".join(filter(None, (query_of(filters), "gone=1" if gone else "")))
    return RedirectResponse(f"/?{query}" if query else "/", status_code=303)


async def _lease(request: Request, verdict_id: str) -> Job | None:
    context, user = context_of(request), request.state.session.user
    lease_s = context.settings.console.lease_s
    now, auditor = datetime.now(UTC), auditor_of(request)
    return await queue.lease(context.database, user, verdict_id, now=now, lease_s=lease_s, auditor=auditor)


async def _hand_back(request: Request, but: str) -> None:
    context, user = context_of(request), request.state.session.user
    held = await queue.held(context.database, user, now=datetime.now(UTC))
    if held and held.verdict_id != but:
        await queue.release(context.database, user, held.verdict_id)


def _beside(free: list[Job], held: Job | None) -> tuple[Job | None, Job | None]:
    """The posts before and after the one in hand; the first, where it is not among them."""
    at = next((at for at, job in enumerate(free) if held and job.seq == held.seq), None)
    if at is None:
        return None, free[0] if free else None
    return free[at - 1] if at else None, free[at + 1] if at + 1 < len(free) else None
