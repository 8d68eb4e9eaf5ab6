"""Quality: how often decisions are wrong, as estimated from blind audits."""

import asyncio
from datetime import UTC, datetime, timedelta

from cachetools import TTLCache
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.audits.estimation import LEAST_LABELS, LEAST_POSITIVES
from moderation_service.audits.ratio_interval import Measure
from moderation_service.console.context import ConsoleContext, context_of
from moderation_service.console.pages.render import page
from moderation_service.console.store import error_rates
from moderation_service.console.store.error_rates import Audits

PERIODS = (7, 30, 90, 365)  # days
_KEPT_S = 60.0


class QualityPage:
    """The page. To count the verdicts of a period takes seconds for a million: it is done once for all who look."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._kept: TTLCache[tuple[int, int], Audits] = TTLCache(maxsize=2 * len(PERIODS), ttl=_KEPT_S)
        self._counting = asyncio.Lock()

    async def show(self, request: Request) -> Response:
        """All policies over a period, of one language or of all; with `policy` one of them in detail."""
        context, asked = context_of(request), request.query_params
        days = next((one for one in PERIODS if asked.get("days") == str(one)), 30)
        language, policy_id = asked.get("language") or None, asked.get("policy") or None
        enforced = [policy.id for policy in context.pack.enforced]
        if policy_id is not None and policy_id not in enforced:
            raise HTTPException(404, "no such policy")
        audits, detail = await self._audits(context, days, 0), None
        if policy_id is not None:
            before = await self._audits(context, days, 1)
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

    async def _audits(self, context: ConsoleContext, days: int, back: int) -> Audits:
        """Of the last period, or of so many back; kept for a minute where there are any."""
        async with self._counting:
            if (kept := self._kept.get((days, back))) is not None:
                return kept
            until = datetime.now(UTC) - back * timedelta(days=days)
            found = await error_rates.read(context.database, until - timedelta(days=days), until)
            if found.answered:
                self._kept[days, back] = found
            return found
