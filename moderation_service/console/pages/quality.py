"""Quality: how often decisions are wrong, as estimated from blind audits."""

from datetime import UTC, datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.audits.estimation import LEAST_LABELS, LEAST_POSITIVES
from moderation_service.audits.ratio_interval import Measure
from moderation_service.console.context import context_of
from moderation_service.console.pages.render import page
from moderation_service.console.store import error_rates

PERIODS = (7, 30, 90, 365)  # days


async def show(request: Request) -> Response:
    """All policies over a period, of one language or of all; with `policy` one of them in detail."""
    context, asked = context_of(request), request.query_params
    days = next((one for one in PERIODS if asked.get("days") == str(one)), 30)
    language = asked.get("language") or None
    enforced = [policy.id for policy in context.pack.enforced]
    policy_id = asked.get("policy") or None
    if policy_id is not None and policy_id not in enforced:
        raise HTTPException(404, "no such policy")
    now, length = datetime.now(UTC), timedelta(days=days)
    audits = await error_rates.read(context.database, now - length, now)
    detail = None
    if policy_id is not None:
        before = await error_rates.read(context.database, now - 2 * length, now - length)
        detail = await error_rates.detail(audits, before, policy_id, language)
    return page(
        request,
        "quality.html",
        audits=audits,
        rates=await error_rates.rates(audits, [policy_id] if policy_id else [None, *enforced], language),
        detail=detail,
        policy_id=policy_id,
        days=days,
        periods=PERIODS,
        language_asked=language,
        are_drawn=bool(context.settings.audit.rates),
        Measure=Measure,
        least=(LEAST_LABELS, LEAST_POSITIVES),
    )
