"""Escalation: a routed post is in the legal hold before its verdict may leave, and on the escalation topic with it."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.child_safety.sealed_file import HoldError
from moderation_service.contracts.bank import BankAction
from moderation_service.contracts.escalation import Escalation
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Transient
from moderation_service.judging.decision import gravest_match
from moderation_service.judging.evidence import Evidence
from moderation_service.telemetry import metrics

LEGAL_HOLD = "legal_hold"
_WRITERS = ThreadPoolExecutor(4, "legal-hold")  # of its own: a volume that hangs must not take threads that decode
_log = structlog.get_logger(__name__)


async def seize(
    hold: LegalHold | None, verdict: Verdict, evidence: Evidence, *, record: bytes, origin: Mapping[str, object]
) -> None:
    """Write a routed post to the legal hold: its record as it came and from where, its images' bytes, its verdict.

    Raises Transient, whatever fails: the post is held back until it can be written, never published without.
    """
    if verdict.route is None:
        return
    try:
        if hold is None:
            msg = "child_safety.hold_path: is not set, and a bank or policy has a route; set it"
            raise OSError(msg)  # noqa: TRY301 - there is one way to fail
        images = [image.data for image in evidence.loaded.images]
        put = partial(hold.put, verdict, record=record, origin=origin, images=images)
        await asyncio.get_running_loop().run_in_executor(_WRITERS, put)
    except Exception as error:  # noqa: BLE001 - whatever it was, the post must not be published
        metrics.LEGAL_HOLDS.labels("failed").inc()
        why = f"{error}"[:300] if isinstance(error, OSError | HoldError) else type(error).__name__  # may quote the post
        _log.error("a post is not in the legal hold, and is held back until it is", error=why)
        msg = "the legal hold can't be written"
        raise Transient(LEGAL_HOLD, msg) from None
    metrics.LEGAL_HOLDS.labels("held").inc()


def escalation_of(verdict: Verdict) -> Escalation | None:
    """What the escalation topic is told of a post; None where neither a bank escalates it nor anything routes it."""
    if verdict.route is None and all(match.action is not BankAction.ESCALATE for match in verdict.matches):
        return None
    gravest = gravest_match(verdict.matches)
    metrics.ESCALATIONS.labels(verdict.route or "none").inc()
    return Escalation(
        verdict_id=verdict.verdict_id,
        post_id=verdict.post_id,
        post_revision=verdict.post_revision,
        author_id=verdict.author_id,
        decision=verdict.decision,
        route=verdict.route,
        action=gravest.action if gravest else None,
        matches=verdict.matches,
        policies=tuple(policy.policy_id for policy in verdict.policies if policy.outcome.is_flagged),
        case_id=verdict.verdict_id if verdict.route else None,
        at=verdict.judged_at,
    )
