"""Reviews: kept, sent and undone in one transaction with the job that they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError
from sqlalchemy import func, select

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox, queue, reviews
from moderation_service.console.store.queue import Filters, Job
from moderation_service.console.store.reviews import Decided, NotYours, Unknown
from moderation_service.console.store.tables import jobs
from moderation_service.console.store.tables import outbox as outbox_table
from moderation_service.console.store.tables import reviews as reviews_table
from moderation_service.contracts.review import PolicyReview, Review
from moderation_service.telemetry import audit
from tests.console.queue.made import kept, policy, verdict

BLOCK = Decided("block", (PolicyReview(policy_id="weapon_sale", violated=True),), "a knife, priced")
LONG_S = 3600.0


async def lease(context: ConsoleContext, reviewer: str, lease_s: float = LONG_S, after_s: float = 0) -> Job | None:
    now = datetime.now(UTC) + timedelta(seconds=after_s)
    return await queue.lease_next(context.database, reviewer, Filters(), now=now, lease_s=lease_s)


async def rows(context: ConsoleContext, table: Any) -> int:
    async with context.database.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def entries(context: ConsoleContext, after_s: float = 60) -> list[outbox.OutboxEntry]:
    """All of the outbox, taken as the sender does."""
    return await outbox.take(context.database, datetime.now(UTC) + timedelta(seconds=after_s), 100)


async def state(context: ConsoleContext) -> list[str]:
    async with context.database.connect() as connection:
        return list((await connection.execute(select(jobs.c.state).order_by(jobs.c.verdict_seq))).scalars())


async def test_a_decision_is_a_row_a_record_and_the_end_of_the_job(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("p-1", post_revision=4))
    assert await lease(context, "ann")
    review = await reviews.decide(context, "ann", named, BLOCK)
    assert (review.verdict_id, review.post_id, review.post_revision) == (named, "p-1", 4)
    assert (review.decision, review.policies, review.reason, review.reviewer) == (
        BLOCK.decision,
        BLOCK.policies,
        BLOCK.reason,
        "ann",
    )
    assert await reviews.of_verdict(context.database, named) == [review]
    assert await state(context) == ["decided"]
    assert await lease(context, "ann") is None
    assert context.outbox_changed.is_set()
    (entry,) = await entries(context)
    assert (entry.record.topic, entry.record.key) == (context.settings.kafka.review_topic, b"p-1")
    assert Review.model_validate_json(entry.record.value or b"") == review
    assert dict(entry.record.headers)["ce_id"].decode() == entry.entry_id == review.review_id
    assert entry.due_at == review.reviewed_at + timedelta(seconds=context.settings.console.undo_s)


async def test_what_another_holds_can_not_be_decided(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    assert await lease(context, "ann")
    with pytest.raises(NotYours) as refused:
        await reviews.decide(context, "bob", named, BLOCK)
    assert refused.value.why == "leased"
    assert (await rows(context, reviews_table), await rows(context, outbox_table)) == (0, 0)


async def test_who_was_too_slow_can_decide_only_what_nobody_took(context: ConsoleContext) -> None:
    first, second = await kept(context.database, verdict("a", policy(severity=5)), verdict("b"))
    assert await lease(context, "ann", lease_s=-1)
    assert await reviews.decide(context, "ann", first, BLOCK)
    assert await lease(context, "ann", lease_s=-1)
    job = await lease(context, "bob")
    assert job
    assert job.verdict_id == second
    with pytest.raises(NotYours):
        await reviews.decide(context, "ann", second, BLOCK)


async def test_what_is_decided_takes_one_more_review_only_if_it_is_meant_so(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    first = await reviews.decide(context, "ann", named, BLOCK)
    with pytest.raises(NotYours) as refused:
        await reviews.decide(context, "bob", named, BLOCK)
    assert refused.value.why == "decided"
    second = await reviews.decide(context, "bob", named, Decided("allow", further=True))
    assert await reviews.of_verdict(context.database, named) == [second, first]


async def test_what_is_out_of_date_is_not_decided_by_mistake(context: ConsoleContext) -> None:
    (old,) = await kept(context.database, verdict("a"))
    assert await lease(context, "ann")
    await kept(context.database, verdict("a", post_revision=2))
    with pytest.raises(NotYours) as refused:
        await reviews.decide(context, "ann", old, BLOCK)
    assert refused.value.why == "superseded"
    assert await reviews.decide(context, "ann", old, Decided("allow", further=True))


async def test_a_verdict_that_nobody_was_asked_about_can_be_overturned(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a", decision="block"))
    assert await reviews.decide(context, "ann", named, Decided("allow"))


async def test_a_verdict_that_is_not_here_is_unknown(context: ConsoleContext) -> None:
    with pytest.raises(Unknown, match="no-such-verdict"):
        await reviews.decide(context, "ann", "no-such-verdict", BLOCK)


async def test_what_the_contract_refuses_leaves_the_job_open(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    with pytest.raises(ValidationError, match="reason"):
        await reviews.decide(context, "ann", named, Decided("allow", reason="x" * 4001))
    assert await state(context) == ["open"]


async def test_an_undone_review_leaves_its_job_with_the_reviewer_and_a_line_in_the_audit(
    context: ConsoleContext,
) -> None:
    (named,) = await kept(context.database, verdict("a"))
    review = await reviews.decide(context, "ann", named, BLOCK)
    assert await reviews.undo(context, "ann", review.review_id)
    assert await reviews.of_verdict(context.database, named) == []
    assert await lease(context, "bob") is None
    job = await lease(context, "ann")
    assert job
    assert job.verdict_id == named
    (entry,) = await entries(context)
    told = audit.AuditEntry.model_validate_json(entry.record.value or b"")
    assert (entry.record.topic, told.actor) == (context.settings.kafka.audit_topic, "reviewer:ann")
    assert (told.action, told.target) == ("review.undone", named)
    assert not await reviews.undo(context, "ann", review.review_id)


async def test_another_can_not_undo_it(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    review = await reviews.decide(context, "ann", named, BLOCK)
    assert not await reviews.undo(context, "bob", review.review_id)
    assert await reviews.of_verdict(context.database, named) == [review]


@pytest.mark.parametrize("undo_s", [0, 8])
async def test_what_is_due_or_on_its_way_to_kafka_can_not_be_undone(context: ConsoleContext, undo_s: float) -> None:
    console = context.settings.console.model_copy(update={"undo_s": undo_s})
    context.settings = context.settings.model_copy(update={"console": console})
    (named,) = await kept(context.database, verdict("a"))
    review = await reviews.decide(context, "ann", named, BLOCK)
    if undo_s:
        assert len(await entries(context)) == 1
    assert not await reviews.undo(context, "ann", review.review_id)
    assert await reviews.of_verdict(context.database, named) == [review]
    assert await state(context) == ["decided"]


async def test_an_undone_further_review_leaves_what_was_decided(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    first = await reviews.decide(context, "ann", named, BLOCK)
    second = await reviews.decide(context, "bob", named, Decided("allow", further=True))
    assert await reviews.undo(context, "bob", second.review_id)
    assert await reviews.of_verdict(context.database, named) == [first]
    assert await state(context) == ["decided"]


async def test_a_review_undone_after_a_newer_revision_came_opens_nothing(context: ConsoleContext) -> None:
    (old,) = await kept(context.database, verdict("a"))
    review = await reviews.decide(context, "ann", old, BLOCK)
    (new,) = await kept(context.database, verdict("a", post_revision=2))
    assert await reviews.undo(context, "ann", review.review_id)
    job = await lease(context, "ann")
    assert job
    assert job.verdict_id == new


async def test_a_review_made_elsewhere_is_kept_once_and_ends_the_job(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a"))
    review = made_elsewhere(named)
    for _ in range(2):
        async with context.database.begin() as connection:
            await reviews.put(connection, review)
    assert await reviews.of_verdict(context.database, named) == [review]
    assert (await state(context), await rows(context, outbox_table)) == (["decided"], 0)


async def test_a_review_made_elsewhere_is_kept_before_its_verdict_comes(context: ConsoleContext) -> None:
    late = verdict("a")
    async with context.database.begin() as connection:
        await reviews.put(connection, made_elsewhere(late.verdict_id))
    await kept(context.database, late)
    assert await lease(context, "ann") is None
    async with context.database.connect() as connection:
        assert (await connection.execute(select(reviews_table.c.verdict_decision))).scalars().all() == ["review"]


async def test_all_reviews_can_be_exported_oldest_first(context: ConsoleContext) -> None:
    named = await kept(context.database, verdict("a"), verdict("b"))
    made = [await reviews.decide(context, "ann", one, BLOCK) for one in named]
    assert [review async for review in reviews.exported(context.database)] == made


async def test_reviews_are_counted_by_policy_and_agreement(context: ConsoleContext) -> None:
    (named,) = await kept(context.database, verdict("a", policy("doxxing"), policy("counting", score=0.2)))
    answers = [("doxxing", True), ("counting", True), ("no_such_policy", True)]
    policies = tuple(PolicyReview(policy_id=name, violated=violated) for name, violated in answers)
    review = await reviews.decide(context, "ann", named, Decided("block", policies))

    def counted(name: str, agreed: str) -> float:
        labels = {"policy": name, "agreed": agreed}
        return REGISTRY.get_sample_value("moderation_reviews_total", labels) or 0.0

    before = counted("doxxing", "true"), counted("counting", "false")
    await outbox.count_reviews(context.database, [review.review_id])
    assert (counted("doxxing", "true"), counted("counting", "false")) == (before[0] + 1, before[1] + 1)
    assert counted("no_such_policy", "true") == counted("no_such_policy", "false") == 0


def made_elsewhere(verdict_id: str) -> Review:
    return Review(
        review_id="elsewhere-1",
        verdict_id=verdict_id,
        post_id="a",
        post_revision=1,
        decision="allow",
        reviewer="cid",
        reviewed_at=datetime.now(UTC),
    )
