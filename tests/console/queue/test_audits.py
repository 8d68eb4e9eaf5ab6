"""Audits in the queue: blind, at most one post in five, two people and one who settles, nobody twice."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select, update

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import audits, outbox, posts, queue, retention, reviews, traffic, verdicts
from moderation_service.console.store.audits import Auditor
from moderation_service.console.store.quality import quality
from moderation_service.console.store.queue import Filters, Job
from moderation_service.console.store.reviews import Decided, NotYours
from moderation_service.console.store.tables import jobs
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.enums import Trigger
from moderation_service.contracts.post import Post
from moderation_service.contracts.review import PolicyReview, Review
from moderation_service.contracts.verdict import Verdict
from tests.console.queue.made import NOW, kept, policy, verdict

LEASE_S = 3600.0
YES, NO = (
    (PolicyReview(policy_id="weapon_sale", violated=True),),
    (PolicyReview(policy_id="weapon_sale", violated=False),),
)


def audited(post_id: str, decision: str = "allow", *, second: bool = False, **fields: Any) -> Verdict:
    """A verdict that is drawn; allowed without more said."""
    score = 0.01 if decision == "allow" else 0.7
    draw = AuditDraw(stratum=decision, probability=0.25, is_sampled=True, second=second)
    made = verdict(post_id, policy(score=score), decision=decision, audit=draw, **fields)
    return made.model_copy(update={"content": made.content.model_copy(update={"text_sha256": post_id})})


def auditor(name: str, *, adjudicates: bool = False, per_day: int = 100) -> Auditor:
    return Auditor(name, adjudicates, per_day)


async def lease(context: ConsoleContext, of: Auditor, **filters: str) -> Job | None:
    now = datetime.now(UTC)
    return await queue.lease_next(context.database, of.name, Filters(**filters), now=now, lease_s=LEASE_S, auditor=of)


async def answer(context: ConsoleContext, of: Auditor, verdict_id: str, said: tuple[PolicyReview, ...] = NO) -> Review:
    return await reviews.answer_audit(context, of, verdict_id, said, "")


async def rounds(context: ConsoleContext) -> list[tuple[str, str | None]]:
    query = select(jobs.c.state, jobs.c.audit).order_by(jobs.c.verdict_seq)
    async with context.database.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]


async def listed(context: ConsoleContext, of: Auditor, limit: int = 50, **filters: str) -> list[Job]:
    now = datetime.now(UTC)
    return await queue.listed(context.database, Filters(**filters), limit=limit, now=now, auditor=of)


def of_audits(found: Iterable[Job]) -> list[str]:
    return [job.post_id for job in found if job.audit]


async def test_an_allowed_post_that_is_drawn_is_a_job_of_which_nothing_is_told(context: ConsoleContext) -> None:
    await kept(context.database, audited("a"), verdict("b", decision="allow"), audited("c", "block"))
    found = await listed(context, auditor("ann"))
    assert sorted(of_audits(found)) == ["a", "c"]
    told = {(job.decision, job.severity, job.margin, job.abstain_reason, job.reason) for job in found}
    assert told == {(None, 0, 0.0, None, None)}


async def test_an_answer_is_a_review_that_carries_its_round_stratum_and_probability(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", "block"))
    assert await lease(context, auditor("ann"))
    made = await answer(context, auditor("ann"), named, YES)
    assert made.audit
    assert (made.audit.round, made.audit.stratum, made.audit.probability) == ("first", "block", 0.25)
    assert (made.decision, made.policies) == ("block", YES)
    (entry,) = await outbox.take(context.database, datetime.now(UTC) + timedelta(minutes=1), 9)
    assert Review.model_validate_json(entry.record.value or b"") == made
    assert await reviews.of_verdict(context.database, named) == [made]
    assert await rounds(context) == [("decided", "first")]


async def test_two_people_answer_and_a_third_settles_where_they_differ(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", second=True))
    ann, bob, cid, eve = (auditor(name, adjudicates=name in {"cid", "ann"}) for name in ("ann", "bob", "cid", "eve"))
    await answer(context, ann, named, YES)
    with pytest.raises(NotYours) as refused:
        await answer(context, ann, named)
    assert refused.value.why == "audited", "nobody answers twice"
    second = await answer(context, bob, named, NO)
    assert await rounds(context) == [("open", "adjudication")]
    for one in (ann, bob, eve):
        assert await lease(context, one) is None, "not the two, and not without the permission"
        with pytest.raises(NotYours):
            await answer(context, one, named)
    job = await lease(context, cid)
    assert job
    assert await audits.answers_to_settle(context.database, named) == {"weapon_sale": [True, False]}
    settled = await answer(context, cid, named, YES)
    assert second.audit
    assert settled.audit
    assert (second.audit.round, settled.audit.round) == ("second", "adjudication")
    assert await rounds(context) == [("decided", "adjudication")]


async def test_two_who_agree_need_nobody_to_settle_it(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", second=True))
    for name in ("ann", "bob"):
        await answer(context, auditor(name), named)
    assert await rounds(context) == [("decided", "second")]


async def test_an_undone_answer_is_waited_for_again_whichever_it_was(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", second=True))
    first = await answer(context, auditor("ann"), named, YES)
    await answer(context, auditor("bob"), named, NO)
    assert await reviews.undo(context, "ann", first.review_id)
    assert await rounds(context) == [("open", "first")]
    assert await lease(context, auditor("eve")) is None, "it is ann's again"
    job = await lease(context, auditor("ann"))
    assert job
    await answer(context, auditor("ann"), named, NO)
    assert (await rounds(context))[0][0] == "decided"


async def test_a_post_that_waits_for_a_review_is_reviewed_blind_and_counts_as_waiting(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", "review"))
    assert (await queue.counts(context.database, now=NOW)).open == 1
    assert (await queue.counts(context.database, now=NOW, blind=False)).open == 0
    assert of_audits(await listed(context, auditor("ann"))) == ["a"]
    with pytest.raises(NotYours) as refused:
        await reviews.decide(context, "ann", named, Decided("block", YES))
    assert refused.value.why == "audited", "not by who sees the verdict"
    await answer(context, auditor("ann"), named, YES)
    assert (await queue.counts(context.database, now=NOW)).open == 0


async def test_audits_are_no_backlog_and_no_share_of_what_people_decided(context: ConsoleContext) -> None:
    now = datetime.now(UTC)
    one, two, three = await kept(
        context.database,
        audited("a", judged_at=now),
        audited("b", "review", second=True, judged_at=now),
        verdict("c", judged_at=now),
    )
    await answer(context, auditor("ann"), one, YES)
    await answer(context, auditor("ann"), two, YES)
    await reviews.decide(context, "ann", three, Decided("block", YES))
    assert await rounds(context) == [("decided", "first"), ("open", "second"), ("decided", None)]
    assert (await queue.counts(context.database, now=now)).open == 0
    later = datetime.now(UTC) + timedelta(seconds=1)
    found = await traffic.figures(context.database, now=later, span=timedelta(hours=1), buckets=4)
    assert sum(sum(bucket.people.values()) for bucket in found.buckets) == 2, "b and c waited for a person"
    assert found.buckets[-1].backlog == 0
    said = await quality(context.database, now - timedelta(days=1))
    assert (said.reviews, said.policies["weapon_sale"].of) == (1, 1), "precision is of the queue's reviews alone"


async def test_audits_are_not_counted_as_agreement_with_flags(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", "block"))
    made = await answer(context, auditor("ann"), named, YES)

    def counted() -> float:
        labels = {"policy": "weapon_sale", "agreed": "true"}
        return REGISTRY.get_sample_value("moderation_reviews_total", labels) or 0.0

    before = counted()
    await outbox.count_reviews(context.database, [made.review_id])
    assert counted() == before


async def test_one_post_in_five_is_an_audit_while_others_wait(context: ConsoleContext) -> None:
    await kept(context.database, *(audited(f"audit {n}") for n in range(9)), *(verdict(f"post {n}") for n in range(12)))
    kinds = ""
    while job := await lease(context, auditor("ann")):
        kinds += "a" if job.audit else "p"
        if job.audit:
            await answer(context, auditor("ann"), job.verdict_id)
        else:
            await reviews.decide(context, "ann", job.verdict_id, Decided("allow", NO))
    assert kinds == "appppappppapppp" + "a" * 6


async def test_the_order_and_the_place_in_the_list_tell_nothing(context: ConsoleContext) -> None:
    now = datetime.now(UTC)
    made = [audited(f"{n:02}", ("allow", "block", "review")[n % 3], judged_at=now) for n in range(30)]
    await kept(context.database, *made, *(verdict(f"post {n}") for n in range(8)))
    found = await listed(context, auditor("ann"), limit=50)
    by_id = [one.post_id for one in sorted(made, key=lambda one: one.verdict_id)]
    assert of_audits(found) == by_id[:10], "by a digest"
    assert [bool(job.audit) for job in found[:10]] == [False, False, False, False, True] * 2
    job = await lease(context, auditor("ann"))
    assert job
    assert job.post_id == by_id[0], "also where it waits for a review: it is not handed out sooner"


async def test_an_audit_for_which_a_post_has_waited_long_goes_before_others_but_not_in_the_list(
    context: ConsoleContext,
) -> None:
    now = datetime.now(UTC)
    made = [audited(f"{n}", judged_at=now - timedelta(days=1)) for n in range(12)]
    waits = [audited(f"w{n}", "abstain", judged_at=now - timedelta(minutes=20 * n)) for n in range(2)]
    await kept(context.database, *made, *waits)
    found = of_audits(await listed(context, auditor("ann"), limit=25))
    assert "w1" in found
    places = {one.post_id: one.verdict_id for one in (*made, *waits)}
    assert found == sorted(found, key=places.__getitem__)
    job = await lease(context, auditor("ann"))
    assert job
    assert job.post_id == "w1"


async def test_filters_by_what_was_found_find_no_audit(context: ConsoleContext) -> None:
    await kept(context.database, audited("a", "review"))
    for told in ({"policy_id": "weapon_sale"}, {"attribution": "combined"}, {"decision": "review"}):
        assert await listed(context, auditor("ann"), **told) == []
        assert await lease(context, auditor("ann"), **told) is None
    assert of_audits(await listed(context, auditor("ann"), language="en")) == ["a"]


async def test_a_day_has_so_many_answers_and_what_waits_for_a_review_is_none_of_them(context: ConsoleContext) -> None:
    await kept(context.database, *(audited(name) for name in "abcd"), audited("waits", "abstain"))
    ann = auditor("ann", per_day=2)
    answered = list[str]()
    while job := await lease(context, ann):
        answered.append(job.post_id)
        await answer(context, ann, job.verdict_id)
    assert len(answered) == 3
    assert "waits" in answered
    assert of_audits(await listed(context, auditor("bob", per_day=2))) == []
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await queue.lease_next(context.database, "bob", Filters(), now=tomorrow, lease_s=1, auditor=ann)


async def test_of_copies_the_first_is_audited_and_one_that_waits_for_a_review_is_blind_too(
    context: ConsoleContext,
) -> None:
    one, other = audited("a", second=True), audited("c", "review", second=True)
    copies = [one.model_copy(update={"post_id": "b", "verdict_id": "b" * 32})]
    copies += [other.model_copy(update={"post_id": name, "verdict_id": name * 32}) for name in "de"]
    await kept(context.database, one, other, *copies)
    assert sorted(of_audits(await listed(context, auditor("ann")))) == ["a", "c", "d", "e"]
    async with context.database.connect() as connection:
        query = select(jobs.c.audit, jobs.c.second).order_by(jobs.c.verdict_seq)
        found = [tuple(row) for row in await connection.execute(query)]
    assert found == [("first", True)] * 2 + [("first", False)] * 2


async def test_the_verdict_its_copies_and_others_on_the_post_are_hidden_until_nothing_can_be_undone(
    context: ConsoleContext,
) -> None:
    first = audited("a")
    copy = first.model_copy(update={"post_id": "copy", "verdict_id": "c" * 32})
    other = verdict("other", decision="allow")
    before = verdict("a").model_copy(update={"verdict_id": "b" * 32})
    ids = await kept(context.database, before, first, copy, other)

    async def hidden() -> list[bool]:
        return [await audits.hides(context.database, one) for one in ids]

    assert await hidden() == [True, True, True, False]
    assert [one.verdict.post_id for one in await verdicts.listed(context.database, limit=9, hidden=False)] == ["other"]
    made = await answer(context, auditor("ann"), first.verdict_id)
    assert await hidden() == [True, True, True, False], "it can be undone"
    await outbox.drop(context.database, [made.review_id])
    assert await hidden() == [False] * 4


async def test_an_answer_that_was_given_elsewhere_goes_on_to_the_next_round(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", second=True))
    first = await answer(context, auditor("ann"), named, YES)
    elsewhere = first.model_copy(
        update={
            "review_id": "e",
            "reviewer": "eve",
            "audit": first.audit and first.audit.model_copy(update={"round": "second"}),
        }
    )
    late = audited("late")
    early = first.model_copy(update={"review_id": "f", "verdict_id": late.verdict_id, "post_id": "late"})
    async with context.database.begin() as connection:
        await reviews.put(connection, elsewhere)
        await reviews.put(connection, early)
    await kept(context.database, late)
    assert await rounds(context) == [("decided", "second"), ("decided", "first")]


async def test_a_review_by_who_saw_the_verdict_leaves_the_audit_open_to_others(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a", "block"))
    await reviews.decide(context, "key:platform", named, Decided("allow", NO, further=True))
    assert await rounds(context) == [("open", "first")]
    assert await lease(context, auditor("key:platform")) is None
    assert await lease(context, auditor("ann"))


async def test_a_newer_verdict_ends_the_audit_and_an_erasure_leaves_nothing_of_it(context: ConsoleContext) -> None:
    first = audited("a")
    await kept(context.database, first, verdict("a", decision="allow", post_revision=2), audited("b"))
    assert of_audits(await listed(context, auditor("ann"))) == ["b"]
    job = await lease(context, auditor("ann"))
    assert job
    await answer(context, auditor("ann"), job.verdict_id)
    async with context.database.begin() as connection:
        await verdicts.erase(connection, {"a", "b"})
    assert await rounds(context) == []
    assert await outbox.take(context.database, datetime.now(UTC) + timedelta(hours=1), 9) == []


async def test_an_allowed_post_is_kept_while_it_is_audited(context: ConsoleContext) -> None:
    post = Post(post_id="a", text="x")
    first = audited("a", judged_at=datetime.now(UTC))
    async with context.database.begin() as connection:
        await posts.put(connection, post, None)
    await kept(context.database, first)
    assert await posts.shown(context.database, "a", 1)
    await answer(context, auditor("ann"), first.verdict_id)
    for hours, is_kept in ((0, True), (2, False)):
        later = datetime.now(UTC) + timedelta(hours=hours)
        await retention.forget(context.database, context.settings.console, later)
        assert bool(await posts.shown(context.database, "a", 1)) == is_kept


async def test_an_audit_that_nobody_was_free_for_is_given_up_but_no_review(context: ConsoleContext) -> None:
    await kept(context.database, audited("a"), audited("b", "review"), verdict("c"))
    async with context.database.begin() as connection:
        assert await audits.give_up(connection, NOW + audits.KEPT) == 0
        assert await audits.give_up(connection, NOW + audits.KEPT + timedelta(seconds=1)) == 1
    assert await rounds(context) == [("open", "first"), ("open", None)]


async def test_of_a_post_with_a_route_nothing_stays_in_the_sample(context: ConsoleContext) -> None:
    drawn = audited("a")
    await kept(context.database, drawn, audited("a", "block", post_revision=2, route="child_safety"))
    assert of_audits(await listed(context, auditor("ann"))) == []
    async with context.database.connect() as connection:
        query = select(verdicts.verdicts.c.stratum, verdicts.verdicts.c.sampled, verdicts.verdicts.c.rest)
        rows = (await connection.execute(query)).all()
    assert [(row.stratum, row.sampled, row.rest["audit"]) for row in rows] == [(None, None, None)] * 2


async def test_a_past_post_that_is_judged_again_is_not_audited(context: ConsoleContext) -> None:
    again = audited("a", trigger=Trigger.REJUDGE)
    await kept(context.database, again, audited("b", "review", trigger=Trigger.REJUDGE))
    assert [(job.post_id, job.audit) for job in await listed(context, auditor("ann"))] == [("b", None)]


async def test_a_lease_that_is_over_leaves_the_audit_to_others(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, audited("a"))
    assert await lease(context, auditor("ann"))
    with pytest.raises(NotYours) as refused:
        await answer(context, auditor("bob"), named)
    assert refused.value.why == "leased"
    async with context.database.begin() as connection:
        await connection.execute(update(jobs).values(leased_until=NOW))
    await answer(context, auditor("bob"), named)
    with pytest.raises(NotYours) as refused:
        await answer(context, auditor("ann"), named)
    assert refused.value.why == "decided"
