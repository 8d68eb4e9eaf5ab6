"""Verdicts: kept with the jobs that they make, looked up, erased with their post."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import BindParameter, Row, bindparam, delete, insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.audits.sampling import cluster_key
from moderation_service.console.store import audits, known_content
from moderation_service.console.store.posts import settle
from moderation_service.console.store.tables import job_policies, jobs, outbox, posts, reviews, thumbnails, verdicts
from moderation_service.console.store.withheld import NOT_DRAWN, visible, withhold, without_content
from moderation_service.contracts.enums import Decision, Outcome, Trigger
from moderation_service.contracts.verdict import Verdict

ESCALATION = "escalation-"
"""Before a verdict's id: the id of its escalation in the outbox."""
_ONE_WRITER = 7_301_002  # an advisory lock
_MAX_LANGUAGE = 64  # characters, as a post's; a verdict's may be anything


@dataclass(frozen=True, slots=True)
class Stored:
    """A verdict that is kept. `newest`: of its post, by revision, and of one revision the last that came."""

    seq: int
    verdict: Verdict
    newest: bool
    received_at: datetime


async def by_id(database: AsyncEngine, verdict_id: str, *, routed: bool = False) -> Stored | None:
    """The verdict of this id; one with a route only if it is `routed` that are asked for too."""
    query = select(verdicts).where(verdicts.c.verdict_id == verdict_id, *visible(routed=routed))
    async with database.connect() as connection:
        found = await connection.execute(query)
        row = found.one_or_none()
    return None if row is None else _stored(row)


async def by_seqs(database: AsyncEngine, seqs: Collection[int]) -> list[Stored]:
    """Verdicts without a route that no audit hides, the last first."""
    shown = (*visible(), ~audits.is_hidden())
    query = select(verdicts).where(verdicts.c.seq.in_(seqs), *shown).order_by(verdicts.c.seq.desc())
    async with database.connect() as connection:
        return [_stored(row) for row in await connection.execute(query)]


async def of_post(database: AsyncEngine, post_id: str) -> list[Stored]:
    """All verdicts of a post without a route, the newest first."""
    query = select(verdicts).where(verdicts.c.post_id == post_id, *visible())
    async with database.connect() as connection:
        rows = await connection.execute(query.order_by(verdicts.c.post_revision.desc(), verdicts.c.seq.desc()))
        return [_stored(row) for row in rows]


async def listed(  # noqa: PLR0913 - the filters of a page
    database: AsyncEngine,
    *,
    limit: int,
    before: int | None = None,
    decision: str | None = None,
    policy_id: str | None = None,
    post_id: str | None = None,
    routed: bool = False,
    hidden: bool = True,
) -> list[Stored]:
    """The verdicts that came last, the last first; of those before the seq `before` where it is given.

    With a `policy_id` those that violate it, and abstentions for which it was asked. `routed`: those with a route too.
    Without `hidden` none that an audit hides.
    """
    query = select(verdicts).where(*visible(routed=routed)).order_by(verdicts.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(verdicts.c.seq < before)
    if decision is not None:
        query = query.where(verdicts.c.decision == decision)
    if policy_id is not None:
        named = select(job_policies.c.verdict_seq).where(job_policies.c.policy_id == policy_id)
        query = query.where(verdicts.c.seq.in_(named))
    if post_id is not None:
        query = query.where(verdicts.c.post_id == post_id)
    if not hidden:
        query = query.where(~audits.is_hidden())
    async with database.connect() as connection:
        return [_stored(row) for row in await connection.execute(query)]


async def alone(connection: AsyncConnection) -> None:
    """Wait until nobody else adds or erases verdicts, and keep it so to the end of the transaction.

    Which verdict is the newest depends on all of a post. Comes before any row is touched, or two that wait for each
    other's rows are stuck.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time by itself
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_WRITER})


async def put(connection: AsyncConnection, verdict: Verdict, received_at: datetime) -> None:
    """Keep a verdict; one that is known changes nothing. See `put_rows`."""
    await put_rows(connection, [verdict_row(verdict, received_at)])


async def put_rows(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> int:
    """Keep the rows of verdicts in the order in which they came; how many were not known.

    The newest of each post is marked, has a job if a person is to look at it or if it is the first on its content that
    is audited, and ends the jobs of the others. What is kept of the posts follows. One with a route has no job, and
    withholds the verdicts on the post so far.
    """
    await alone(connection)
    fresh = await _unknown(connection, rows)
    if not fresh:
        return 0
    before = await _newest_before(connection, {row["post_id"] for row in fresh})
    newest = dict[str, dict[str, Any]]()
    for row in fresh:
        held = newest[row["post_id"]]["post_revision"] if row["post_id"] in newest else None
        if held is None:
            held = before[row["post_id"]].post_revision if row["post_id"] in before else row["post_revision"]
        if row["post_revision"] >= held:
            newest[row["post_id"]] = row
    seqs = await _insert(connection, fresh, {row["verdict_id"] for row in newest.values()})
    if passed := [{"old": before[post_id].seq} for post_id in newest if post_id in before]:
        old: BindParameter[int] = bindparam("old")
        await connection.execute(update(verdicts).where(verdicts.c.seq == old).values(newest=False), passed)
        ended = update(jobs).where(jobs.c.verdict_seq == old, jobs.c.state == "open").values(state="superseded")
        await connection.execute(ended, passed)
    reviewed = await _reviewed(connection, fresh)
    audited = await audits.first_of_content(connection, newest.values())
    made = [
        job_row(row, seqs[row["verdict_id"]], "decided" if row["verdict_id"] in reviewed else "open")
        | audits.job_fields(row, is_first=row["verdict_id"] in audited)
        for row in newest.values()
        if (Decision(row["decision"]).needs_review or row["verdict_id"] in audited) and row["route"] is None
    ]
    if made:
        await connection.execute(insert(jobs), made)
    await audits.advance(connection, reviewed)
    if named := [policy for row in fresh for policy in _policy_rows(row, seqs[row["verdict_id"]])]:
        await connection.execute(insert(job_policies), named)
    await known_content.put(connection, fresh, seqs)
    await withhold(connection, fresh)
    await settle(connection, {row["post_id"] for row in fresh})
    return len(fresh)


async def erase(connection: AsyncConnection, post_ids: Collection[str]) -> set[str]:
    """All rows of posts whose verdicts were deleted, and what waits to be published of them; which had a route.

    But a post of which no verdict came yet stays: it may have been made anew since, and the input topic tells if not.
    """
    await alone(connection)
    judged = tuple_(posts.c.post_id, posts.c.revision).in_(
        select(verdicts.c.post_id, verdicts.c.post_revision).where(verdicts.c.post_id.in_(post_ids))
    )
    gone = (await connection.execute(delete(posts).where(judged).returning(posts.c.post_id, posts.c.revision))).all()
    if gone:
        images = tuple_(thumbnails.c.post_id, thumbnails.c.revision)
        await connection.execute(delete(thumbnails).where(images.in_([tuple(row) for row in gone])))
    with_route = select(verdicts.c.post_id).where(verdicts.c.post_id.in_(post_ids), verdicts.c.route.is_not(None))
    routed = set((await connection.execute(with_route)).scalars())
    escalations = ESCALATION + verdicts.c.verdict_id
    for table, *entry_ids in ((reviews, reviews.c.review_id), (verdicts, verdicts.c.verdict_id, escalations)):
        theirs = table.c.post_id.in_(post_ids)
        for entry_id in entry_ids:
            await connection.execute(delete(outbox).where(outbox.c.entry_id.in_(select(entry_id).where(theirs))))
        await connection.execute(delete(table).where(theirs))
    return routed


async def _unknown(connection: AsyncConnection, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a verdict id: the first, where none is kept."""
    first = dict[str, dict[str, Any]]()
    for row in rows:
        first.setdefault(row["verdict_id"], row)
    query = select(verdicts.c.verdict_id).where(verdicts.c.verdict_id.in_(list(first)))
    known = set((await connection.execute(query)).scalars())
    return [row for verdict_id, row in first.items() if verdict_id not in known]


async def _newest_before(connection: AsyncConnection, post_ids: Collection[str]) -> dict[str, Any]:
    query = select(verdicts.c.post_id, verdicts.c.post_revision, verdicts.c.seq)
    rows = await connection.execute(query.where(verdicts.c.post_id.in_(post_ids), verdicts.c.newest))
    return {row.post_id: row for row in rows}


async def _insert(connection: AsyncConnection, rows: list[dict[str, Any]], newest: Collection[str]) -> dict[str, int]:
    """Insert; gives each verdict id's seq."""
    made = await connection.execute(
        insert(verdicts).returning(verdicts.c.verdict_id, verdicts.c.seq),
        [{**row, "newest": row["verdict_id"] in newest} for row in rows],
    )
    return {row.verdict_id: row.seq for row in made}


async def _reviewed(connection: AsyncConnection, rows: Iterable[dict[str, Any]]) -> set[str]:
    """Link early reviews to their verdicts: returns the verdicts whose reviews arrived first."""
    decisions = {row["verdict_id"]: row["decision"] for row in rows}
    query = select(reviews.c.verdict_id).where(reviews.c.verdict_id.in_(list(decisions))).distinct()
    found = set((await connection.execute(query)).scalars())
    if found:
        learn = update(reviews).where(reviews.c.verdict_id == bindparam("of")).values(verdict_decision=bindparam("is"))
        await connection.execute(learn, [{"of": one, "is": decisions[one]} for one in found])
    return found


def _stored(row: Row[Any]) -> Stored:
    return Stored(row.seq, verdict_of(row), row.newest, row.received_at)


def verdict_row(verdict: Verdict, received_at: datetime) -> dict[str, Any]:
    """The row of a verdict, without `seq` and `newest`, which depend on the others of its post.

    Of one with a route neither words nor metadata of the post, even if whoever published it left them in.
    """
    published = verdict.model_dump(mode="json", by_alias=True)
    if verdict.route:
        published = without_content(published)
    violated = [policy.severity for policy in verdict.policies if policy.outcome.is_flagged]
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
        "surface": published["surface"],
        **_draw_row(verdict),
        "route": verdict.route,
        "total_ms": verdict.timings_ms.total,
        "judged_at": verdict.judged_at,
        "received_at": received_at,
        "policies": published.pop("policies"),
        "rest": published,
    }


def _draw_row(verdict: Verdict) -> dict[str, Any]:
    """The draw, but of a past post that was judged again: it is kept here no more, so that nobody could answer."""
    draw = verdict.audit
    if draw is None or verdict.route or verdict.trigger is Trigger.REJUDGE:
        return NOT_DRAWN
    cluster = cluster_key(verdict) if draw.is_sampled else None
    return {"stratum": draw.stratum, "probability": draw.probability, "sampled": draw.is_sampled, "cluster": cluster}


def verdict_of(row: Row[Any]) -> Verdict:
    """The verdict as it was published."""
    return Verdict.model_validate_json(to_json({**row.rest, "policies": row.policies}))


def job_row(row: dict[str, Any], seq: int, state: str) -> dict[str, Any]:
    """The job of a verdict's row."""
    same = ("decision", "abstain_reason", "severity", "margin", "judged_at")
    language = row["language"][:_MAX_LANGUAGE]  # it is in an index, whose rows are bounded
    return {"verdict_seq": seq, "state": state, "language": language, **{name: row[name] for name in same}}


def _policy_rows(row: dict[str, Any], seq: int) -> Iterator[dict[str, Any]]:
    """The policies that a verdict's row is found by: those that flag it, and where it abstains all that were asked."""
    seen = set()
    for policy in row["policies"]:
        wanted = row["decision"] == Decision.ABSTAIN or Outcome(policy["outcome"]).is_flagged
        if wanted and policy["policy_id"] not in seen:
            seen.add(policy["policy_id"])
            attribution = policy["attribution"] and policy["attribution"]["class"]
            yield {"verdict_seq": seq, "policy_id": policy["policy_id"], "attribution": attribution}
