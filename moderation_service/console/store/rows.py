"""Verdicts as rows, and rows as verdicts. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Row

from moderation_service.contracts.verdict import Verdict

MAX_LANGUAGE = 64  # characters, as a post's; a verdict's may be anything
TO_REVIEW = frozenset({"review", "abstain"})


def verdict_row(verdict: Verdict, received_at: datetime) -> dict[str, Any]:
    """The row of a verdict, without `seq` and `newest`, which depend on the others of its post."""
    published = verdict.model_dump(mode="json", by_alias=True)
    violated = [policy.severity for policy in verdict.policies if policy.outcome != "allow"]
    margins = [abs(policy.score - policy.thresholds.review) for policy in verdict.policies]
    return {
        "verdict_id": verdict.verdict_id,
        "post_id": verdict.post_id,
        "post_revision": verdict.post_revision,
        "decision": verdict.decision,
        "abstain_reason": verdict.abstain_reason,
        "severity": max(violated, default=0),
        "margin": min(margins, default=1.0),
        "language": verdict.content.language,
        "surface": verdict.surface,
        "total_ms": verdict.timings_ms.total,
        "judged_at": verdict.judged_at,
        "received_at": received_at,
        "policies": published.pop("policies"),
        "rest": published,
    }


def verdict_of(row: Row[Any]) -> Verdict:
    """The verdict as it was published."""
    return Verdict.model_validate_json(to_json({**row.rest, "policies": row.policies}))


def job_row(row: dict[str, Any], seq: int, state: str) -> dict[str, Any]:
    """The job of a verdict's row."""
    same = ("decision", "abstain_reason", "severity", "margin", "judged_at")
    language = row["language"][:MAX_LANGUAGE]  # it is in an index, whose rows are bounded
    return {"verdict_seq": seq, "state": state, "language": language, **{name: row[name] for name in same}}


def policy_rows(row: dict[str, Any], seq: int) -> Iterator[dict[str, Any]]:
    """The policies that a verdict's row is found by: those that flag it, and where it abstains all that were asked."""
    seen = set()
    for policy in row["policies"]:
        if (policy["outcome"] != "allow" or row["decision"] == "abstain") and policy["policy_id"] not in seen:
            seen.add(policy["policy_id"])
            attribution = policy["attribution"] and policy["attribution"]["class"]
            yield {"verdict_seq": seq, "policy_id": policy["policy_id"], "attribution": attribution}
