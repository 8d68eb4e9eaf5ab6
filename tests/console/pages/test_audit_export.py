"""Exports of audits: for admins, as lines and as a table, of a span of time, no cell a formula."""

import csv
import json
from datetime import UTC, datetime, timedelta

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import reviews
from moderation_service.console.store.audits import Auditor
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.review import PolicyReview
from tests.console.pages.test_audits import Person, people  # noqa: F401 - a fixture
from tests.console.queue.made import kept, policy, verdict

AT = datetime.now(UTC) - timedelta(hours=2)
FOLDER = "/audits/export/"


async def answered(context: ConsoleContext) -> str:
    """An answered audit and a verdict that was not drawn; the answered one's id, which a spreadsheet would run."""
    draw = AuditDraw(stratum="review", probability=0.5, is_sampled=True)
    made = verdict("a", policy(), policy("violence", score=0.1, attribution="none"), audit=draw, judged_at=AT)
    made = made.model_copy(update={"verdict_id": "=cmd"})
    other = verdict("b", audit=draw.model_copy(update={"is_sampled": False}), judged_at=AT)
    await kept(context.database, made, other)
    said = (PolicyReview(policy_id="weapon_sale", violated=False), PolicyReview(policy_id="doxxing", violated=True))
    await reviews.answer_audit(context, Auditor("mei", adjudicates=False, per_day=9), "=cmd", said, "")
    return made.verdict_id


async def test_a_row_is_what_was_judged_and_answered_of_a_policy(
    context: ConsoleContext,
    people: dict[str, Person],  # noqa: F811
) -> None:
    await answered(context)
    rows = list(csv.DictReader((await people["ann"].page(f"{FOLDER}audits.csv")).splitlines()))
    told = {row["policy_id"]: (row["score"], row["violated"], row["first"], row["second"]) for row in rows}
    assert told == {
        "weapon_sale": ("0.7", "yes", "no", ""),
        "violence": ("0.1", "no", "", ""),
        "doxxing": ("", "", "yes", ""),
    }
    assert {(row["verdict_id"], row["stratum"], row["probability"], row["copies"]) for row in rows} == {
        ("'=cmd", "review", "0.5", "1")
    }
    (line,) = (await people["ann"].page(f"{FOLDER}audits.jsonl")).splitlines()
    found = json.loads(line)
    assert found["policies"]["weapon_sale"]["attribution"] == "combined"
    violated = {"weapon_sale": False, "doxxing": True}
    assert found["answers"] == [{"round": "first", "reviewer": "mei", "violated": violated}]
    strata = await people["ann"].page(f"{FOLDER}strata.csv")
    assert strata.splitlines() == ["stratum,probability,verdicts", "review,0.5,2"]


async def test_a_span_is_by_when_posts_were_judged_and_a_wrong_one_is_refused(
    context: ConsoleContext,
    people: dict[str, Person],  # noqa: F811
) -> None:
    await answered(context)
    before, after = AT - timedelta(hours=1), AT + timedelta(hours=1)
    for span, rows in ((f"since={before:%Y-%m-%dT%H:%M:%SZ}", 1), (f"since={after:%Y-%m-%dT%H:%M:%SZ}", 0)):
        assert len((await people["ann"].page(f"{FOLDER}strata.csv?{span}")).splitlines()) == 1 + rows
    assert (await people["ann"].page(f"{FOLDER}audits.jsonl?until={before:%Y-%m-%dT%H:%M:%SZ}")) == ""
    await people["ann"].page(f"{FOLDER}audits.csv?since=yesterday", status=400)


async def test_only_admins_may_export(people: dict[str, Person]) -> None:  # noqa: F811
    for name in ("audits.csv", "audits.jsonl", "strata.csv"):
        await people["mei"].page(FOLDER + name, status=403)
