"""Estimates of the error rates as metrics: of several consoles on one database, the leader sets them."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import error_rates
from moderation_service.console.store.leader_lock import leadership
from moderation_service.telemetry import metrics

DAYS = 30
EVERY_S = 600.0
DECISION = "decision"
"""In place of a policy: of the decisions on posts."""
_BOUNDS = ("low", "value", "high")

log = structlog.get_logger(__name__)


async def run(context: ConsoleContext) -> None:
    """Set the metrics while this console is the leader, until cancelled; without audits there are none."""
    while context.settings.audit.rates:
        try:
            async with leadership(context.database, "estimates"):
                while True:
                    await publish(context, datetime.now(UTC))
                    await asyncio.sleep(EVERY_S)
        except (SQLAlchemyError, OSError) as error:
            _clear()  # another console may be the leader now
            log.warning("error rates are not estimated; retried in ten minutes", error=type(error).__name__)
        await asyncio.sleep(EVERY_S)


async def publish(context: ConsoleContext, now: datetime) -> None:
    """Of the last 30 days and of each enforced policy; what there are too few labels for has no value."""
    audits = await error_rates.read(context.database, now - timedelta(days=DAYS), now)
    found = await error_rates.rates(audits, [None, *(policy.id for policy in context.pack.enforced)])
    _clear()
    for rates in found:
        policy = rates.policy_id or DECISION
        for measure, estimate in rates.estimates.items():
            metrics.AUDIT_LABELS.labels(policy, measure).set(estimate.labels)
            for bound in _BOUNDS:
                if (value := getattr(estimate, bound)) is not None:
                    metrics.AUDIT_ESTIMATE.labels(policy, measure, bound).set(value)


def _clear() -> None:
    metrics.AUDIT_ESTIMATE.clear()
    metrics.AUDIT_LABELS.clear()
