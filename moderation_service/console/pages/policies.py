"""Policies: the pack in force, its cases, what people say of it, and what can be learnt from that."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from moderation_service.console import judging
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import ConsoleContext, context_of
from moderation_service.console.pages.render import page, translated
from moderation_service.console.store import reviews, verdicts
from moderation_service.console.store.quality import CaseRow, lately, quality, results
from moderation_service.console.store.tables import case_results
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Poison, Transient
from moderation_service.judging.policy_cases import CaseResult
from moderation_service.media.storage import FileReader
from moderation_service.policies.model import Case, Policy
from moderation_service.readers.post_files import root_of, with_images

_LATELY = 2_000  # verdicts
_QUALITY = timedelta(days=30)

_NO_IMAGES = MsgId("The pictures of these cases are not on this machine. Run the cases with: moderation policies test")
_NOT_RUN = MsgId("The judge is busy or off. Nothing was changed; try again in a moment.")


async def show(request: Request) -> Response:
    """All policies."""
    context = context_of(request)
    held: dict[str, list[CaseRow]] = {}
    current = {policy.id: policy.digest for policy in context.pack.policies}
    for row in await results(context.database):
        if current.get(row.policy_id) == row.policy_digest:
            held.setdefault(row.policy_id, []).append(row)
    return page(
        request,
        "policies.html",
        pack=context.pack,
        cases=held,
        quality=await quality(context.database, datetime.now(UTC) - _QUALITY),
        lately=await lately(context.database, _LATELY),
    )


async def show_one(request: Request) -> Response:
    """One policy with its cases."""
    return await _page(request, _policy(request))


async def run_cases(request: Request) -> Response:
    """Judge the policy's cases now, and keep what came of them."""
    context, policy = context_of(request), _policy(request)
    path = context.settings.policies.path
    files = FileReader(root_of(path), context.settings.media.max_bytes)
    tried = [post for case in policy.cases if isinstance(post := with_images(policy.post(case), files), Post)]
    if len(tried) < len(policy.cases):
        return await _page(request, policy, _NO_IMAGES, 422)
    try:
        with judging.seat(context) as seat:
            judged = await seat.each_judged(tried, trace_id=request.state.trace.trace_id)
    except (judging.Full, judging.JudgingOff, TimeoutError, Transient, Poison):
        return await _page(request, policy, _NOT_RUN, 422)
    found = [_result(policy, case, verdict) for case, verdict in zip(policy.cases, judged, strict=True)]
    await _keep(context, policy, found)
    return await _page(request, policy)


async def export_reviews(request: Request) -> Response:
    """Every review as a line of JSON, for `calibrate` and `evaluate`: no words of a post, and no image."""
    context = context_of(request)

    async def rows() -> AsyncIterator[str]:
        async for review in reviews.exported(context.database):
            yield review.model_dump_json() + "\n"

    return _download(rows(), "reviews.jsonl")


async def export_verdicts(request: Request) -> Response:
    """The verdicts that were reviewed, each once: `calibrate` takes their recorded scores."""
    context = context_of(request)

    async def rows() -> AsyncIterator[str]:
        seen = set[str]()
        async for review in reviews.exported(context.database):
            if review.verdict_id not in seen and (stored := await verdicts.by_id(context.database, review.verdict_id)):
                seen.add(review.verdict_id)
                yield stored.verdict.to_json().decode() + "\n"

    return _download(rows(), "verdicts.jsonl")


def _download(rows: AsyncIterator[str], name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(rows, media_type="application/x-ndjson", headers=headers)


def _policy(request: Request) -> Policy:
    wanted = request.path_params["policy_id"]
    policy = next((one for one in context_of(request).pack.policies if one.id == wanted), None)
    if policy is None:
        raise HTTPException(404, "no such policy")
    return policy


async def _page(request: Request, policy: Policy, wrong: MsgId | None = None, status: int = 200) -> Response:
    context = context_of(request)
    held = {row.case_name: row for row in await results(context.database) if row.policy_id == policy.id}
    return page(
        request,
        "policy.html",
        status=status,
        policy=policy,
        results=held,
        ran_at=max((row.ran_at for row in held.values()), default=None),
        stale=any(row.policy_digest != policy.digest for row in held.values()),
        can_run=context.judge is not None,
        wrong=translated(request, wrong) if wrong else None,
    )


def _result(policy: Policy, case: Case, verdict: Verdict) -> CaseResult:
    """What its own policy said of a case. Where the views did not run, the case's attribution was not tried."""
    found = next((part for part in (*verdict.policies, *verdict.shadow) if part.policy_id == policy.id), None)
    tried = case if found and found.attribution else case.model_copy(update={"attribution": None})
    return CaseResult(policy.id, tried, found)


async def _keep(context: ConsoleContext, policy: Policy, found: list[CaseResult]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "policy_id": policy.id,
            "case_name": one.case.name,
            "policy_digest": policy.digest,
            "as_expected": one.as_expected,
            "decided": one.found.outcome if one.found else Outcome.ALLOW,
            "score": one.found.score if one.found else 0.0,
            "ran_at": now,
        }
        for one in found
    ]
    async with context.database.begin() as connection:
        await connection.execute(delete(case_results).where(case_results.c.policy_id == policy.id))
        if rows:
            await connection.execute(insert(case_results), rows)
