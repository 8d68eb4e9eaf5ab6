"""A store with a stream of verdicts of which some were audited, for estimates to be made from."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import tables, verdicts
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.verdict import Verdict
from tests.console.queue.made import policy, verdict

FLAGGED, LET_GO = 200, 2_000
VIOLATING = {"review": 80, "allow_low": 12}  # of the audited, which are 100 and 200
SECOND = 60  # of the flagged; they agree but for every tenth


async def keep_stream(database: AsyncEngine, now: datetime | None = None, ago_days: float = 1) -> None:
    """Half of what is flagged and a tenth of what is let go was audited; every fourth post is in Chinese."""
    now = now or datetime.now(UTC)
    made = [_verdict(n, "review", n % 2 == 0, now - timedelta(days=ago_days)) for n in range(FLAGGED)]
    made += [_verdict(n, "allow_low", n % 10 == 0, now - timedelta(days=ago_days)) for n in range(LET_GO)]
    answers = list[dict[str, Any]]()
    for stratum, violating in VIOLATING.items():
        sampled = [one for one in made if one.audit and one.audit.is_sampled and one.audit.stratum == stratum]
        for at, one in enumerate(sampled):
            answers.append(_answer(one, "first", now, violated=at < violating))
            if stratum == "review" and at >= len(sampled) - SECOND:
                answers.append(_answer(one, "second", now, violated=(at < violating) != (at % 10 == 0)))
    async with database.begin() as connection:
        await verdicts.put_rows(connection, [verdicts.verdict_row(one, now) for one in made])
        await connection.execute(insert(tables.reviews), answers)


def _verdict(number: int, stratum: str, is_sampled: bool, judged_at: datetime) -> Verdict:  # noqa: FBT001 - of a draw
    flagged = stratum == "review"
    made = verdict(
        f"{stratum}-{number}-{judged_at:%j}",
        policy(score=0.7 if flagged else 0.01, attribution="combined" if flagged else "none"),
        language="zh" if number % 8 > 5 else "en",
        decision="review" if flagged else "allow",
        judged_at=judged_at,
    )
    content = made.content.model_copy(update={"text_sha256": made.post_id})
    draw = AuditDraw(stratum=stratum, probability=0.5 if flagged else 0.1, is_sampled=is_sampled)
    return made.model_copy(update={"audit": draw, "content": content})


def _answer(of: Verdict, asked: str, now: datetime, *, violated: bool) -> dict[str, Any]:
    assert of.audit
    return {
        "review_id": f"{of.verdict_id} {asked}",
        "verdict_id": of.verdict_id,
        "post_id": of.post_id,
        "post_revision": of.post_revision,
        "decision": "block" if violated else "allow",
        "verdict_decision": of.decision,
        "policies": [{"policy_id": "weapon_sale", "violated": violated, "attribution_class": None}],
        "reason": "",
        "reviewer": f"{asked} reviewer",
        "reviewed_at": now,
        "audit_round": asked,
        "audit_stratum": of.audit.stratum,
        "audit_probability": of.audit.probability,
    }
