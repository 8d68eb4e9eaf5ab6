"""What estimates are made from: contents with their answers, and how many verdicts each stratum has."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.audited import BlindAnswer, Stratum
from moderation_service.console.store import reviews
from moderation_service.console.store.audited import audited, population
from moderation_service.contracts.audit import AuditDraw, ReviewAudit
from moderation_service.contracts.enums import AttributionClass, AuditRound
from moderation_service.contracts.review import PolicyReview, Review
from moderation_service.contracts.verdict import Verdict
from tests.console.queue.made import NOW, kept, verdict

DAY = timedelta(days=1)


def drawn(name: str, content: str, *, sampled: bool = True, probability: float = 0.5, ago: float = 0) -> Verdict:
    made = verdict(name, judged_at=NOW - ago * DAY)
    draw = AuditDraw(stratum="review", probability=probability, is_sampled=sampled)
    digests = made.content.model_copy(update={"text_sha256": content})
    return made.model_copy(update={"audit": draw, "content": digests})


async def answered(database: AsyncEngine, of: Verdict, said: str, **violated: bool) -> None:
    policies = tuple(PolicyReview(policy_id=name, violated=value) for name, value in violated.items())
    made = Review(
        review_id=f"{of.verdict_id} {said}",
        verdict_id=of.verdict_id,
        post_id=of.post_id,
        post_revision=1,
        decision="allow",
        policies=policies,
        reviewer=said,
        reviewed_at=datetime.now(UTC),
        audit=ReviewAudit(round=AuditRound(said.split(maxsplit=1)[0]), stratum="review", probability=0.5),
    )
    async with database.begin() as connection:
        await reviews.put(connection, made)


async def test_a_content_stands_for_its_copies_and_has_the_answers_of_its_rounds(database: AsyncEngine) -> None:
    one, copy, other = drawn("a", "same"), drawn("b", "same"), drawn("c", "other")
    await kept(database, one, copy, other, drawn("d", "not drawn", sampled=False))
    await answered(database, one, "first", weapon_sale=True)
    await answered(database, one, "second", weapon_sale=False)
    await answered(database, copy, "first again", weapon_sale=False)
    (found,) = await audited(database, NOW - DAY, NOW + DAY)
    assert (found.verdict_id, found.copies, found.stratum) == (one.verdict_id, 2, Stratum("review", 0.5))
    assert (found.language, found.judged_at, found.decision) == ("en", NOW, "review")
    (policy,) = found.policies.values()
    assert (policy.score, policy.violated, policy.attribution) == (0.7, True, AttributionClass.COMBINED)
    assert found.answers == (
        BlindAnswer(AuditRound.FIRST, "first", {"weapon_sale": True}),
        BlindAnswer(AuditRound.SECOND, "second", {"weapon_sale": False}),
    )


async def test_a_content_that_was_answered_before_is_known_when_it_comes_again(database: AsyncEngine) -> None:
    before, again = drawn("a", "same", ago=9), drawn("b", "same")
    await kept(database, before, again)
    await answered(database, before, "first", weapon_sale=True)
    (found,) = await audited(database, NOW - DAY, NOW + DAY)
    assert (found.verdict_id, found.copies, found.answers[0].violated) == (again.verdict_id, 1, {"weapon_sale": True})


async def test_strata_are_counted_by_name_and_probability_whoever_was_drawn(database: AsyncEngine) -> None:
    made = [drawn(f"{n}", f"{n}", sampled=n % 3 == 0, probability=0.25 if n > 5 else 0.5) for n in range(9)]
    await kept(database, *made, drawn("old", "old", ago=9), verdict("without a draw"))
    found = await population(database, NOW - DAY, NOW + DAY)
    assert found == {Stratum("review", 0.25): 3, Stratum("review", 0.5): 6}


async def test_nothing_with_a_route_is_in_an_estimate(database: AsyncEngine) -> None:
    withheld = drawn("a", "a")
    await kept(database, withheld)
    await answered(database, withheld, "first", weapon_sale=True)
    routed = drawn("a", "b").model_copy(update={"verdict_id": "r" * 32, "post_revision": 2, "route": "child_safety"})
    await kept(database, routed)
    assert await audited(database, NOW - DAY, NOW + DAY) == []
    assert await population(database, NOW - DAY, NOW + DAY) == {}
