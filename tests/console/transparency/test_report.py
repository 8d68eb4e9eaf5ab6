"""A transparency report on a small known database equals what a hand counts."""

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import verdicts
from moderation_service.console.store.audited import audited, population
from moderation_service.console.store.tables import appeals, reviews
from moderation_service.console.store.tables import verdicts as verdict_rows
from moderation_service.console.transparency import template
from moderation_service.console.transparency.accuracy import accuracies, rate_of_error
from moderation_service.console.transparency.figures import (
    AppealFigures,
    CountedMeasure,
    Period,
    PeriodFigures,
    count,
    sampled_languages,
)
from moderation_service.console.transparency.files import page, write
from moderation_service.console.transparency.tables import TransparencyReport
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.enums import Outcome
from moderation_service.contracts.statement import StatementOfReasons
from moderation_service.contracts.verdict import Timings, Verdict
from tests.console.support import shipped_pack
from tests.contracts.examples import CONTENT, POLICY, verdict

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MAY = Period(date(2026, 5, 1), date(2026, 5, 31))
SPEECH, SCAMS = "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH", "STATEMENT_CATEGORY_SCAMS_AND_FRAUD"
OTHER, MINORS = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC", "STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
PRODUCTS = "STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS"


def at(day: int, hour: int = 12, month: int = 5) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def statement(category: str, *, law: bool = False) -> StatementOfReasons:
    ground = "DECISION_GROUND_ILLEGAL_CONTENT" if law else "DECISION_GROUND_INCOMPATIBLE_CONTENT"
    fields: dict[str, Any] = dict.fromkeys(StatementOfReasons.model_fields)
    return StatementOfReasons(
        **fields
        | {
            "decision_visibility": ("DECISION_VISIBILITY_CONTENT_DISABLED",),
            "decision_ground": ground,
            "category": category,
            "category_addition": (),
            "content_type": ("CONTENT_TYPE_TEXT",),
            "territorial_scope": ("DE",),
            "decision_facts": "",
            "source_type": "SOURCE_VOLUNTARY",
            "automated_detection": "Yes",
            "automated_decision": "AUTOMATED_DECISION_FULLY",
            "puid": "x",
        }
    )


def made(post: str, decision: str, moment: datetime, **fields: Any) -> Verdict:
    """A verdict that took 36 seconds, a hundredth of an hour."""
    timings = Timings(queue=0, fetch=0, decode=0, score=0, attribution=0, explain=0, total=36_000)
    named = {"verdict_id": f"v-{post}-{moment}", "post_id": post, "post_revision": 1, "judged_at": moment}
    return verdict(**named, decision=decision, timings_ms=timings, **fields)


def answer(
    of: Verdict, decision: str, moment: datetime, *named: str, blind: bool | None = None
) -> dict[str, str | int | datetime | list[dict[str, str | bool]] | None]:
    """A review's row; `blind`: a blind answer in an audit, and what it says of the policies named."""
    return {
        "review_id": f"r-{of.verdict_id}-{moment}",
        "verdict_id": of.verdict_id,
        "post_id": of.post_id,
        "post_revision": 1,
        "decision": decision,
        "verdict_decision": of.decision,
        "policies": [{"policy_id": name, "violated": blind is not False} for name in named],
        "reason": "",
        "reviewer": f"ann-{of.post_id}" if blind is None else "blind ben",
        "reviewed_at": moment,
        "audit_round": None if blind is None else "first",
    }


async def judged(database: AsyncEngine, post: str, decision: str, moment: datetime, **fields: Any) -> Verdict:
    found = made(post, decision, moment, **fields)
    async with database.begin() as connection:
        await verdicts.put(connection, found, moment)
    return found


async def decided(
    database: AsyncEngine, of: Verdict, decision: str, moment: datetime, *named: str, blind: bool | None = None
) -> None:
    async with database.begin() as connection:
        await connection.execute(insert(reviews).values(answer(of, decision, moment, *named, blind=blind)))


async def appealed(database: AsyncEngine, against: Verdict, moment: datetime) -> None:
    seq = select(verdict_rows.c.seq).where(verdict_rows.c.verdict_id == against.verdict_id).scalar_subquery()
    row = {"appeal_id": f"a-{moment}", "verdict_seq": seq, "filed_at": moment}
    async with database.begin() as connection:
        await connection.execute(insert(appeals).values(row))


@pytest.fixture
async def known(database: AsyncEngine) -> AsyncEngine:
    """Seven measures in May, and around them what is none."""
    scam, speech = statement(SCAMS), statement(SPEECH, law=True)
    await judged(database, "again", "block", at(3), statement_of_reasons=scam, post_language="de-AT")
    again = await judged(database, "again", "block", at(4), statement_of_reasons=scam, post_language="de-AT")
    sent = await judged(database, "sent", "review", at(3), statement_of_reasons=speech, post_language="fr")
    await decided(database, sent, "block", at(3, 14))
    missed = await judged(database, "missed", "allow", at(5))
    await decided(database, missed, "block", at(5, 16), "weapon_display", "weapon_sale", "a_policy_that_is_gone")
    await judged(database, "routed", "block", at(6), route="child_safety", policies=())
    await judged(database, "withheld", "block", at(5), statement_of_reasons=scam, post_language="de")
    await judged(database, "withheld", "block", at(6), route="child_safety", policies=())
    reversed_one = await judged(database, "reversed", "block", at(10), statement_of_reasons=statement(OTHER, law=True))
    await decided(database, reversed_one, "block", at(11))
    await decided(database, reversed_one, "allow", at(12))
    moment = datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC)
    last = await judged(database, "last", "block", moment, statement_of_reasons=scam, post_language="de")
    await appealed(database, reversed_one, at(11, 13))
    await appealed(database, again, at(5))
    await decided(database, again, "block", at(5, 15))
    await appealed(database, last, moment)
    await appealed(database, last, moment + timedelta(seconds=1))
    await judged(database, "too_late", "block", at(1, 0, 6), statement_of_reasons=scam)
    await judged(database, "too_early", "block", at(30, month=4), statement_of_reasons=scam)
    await judged(database, "too_early", "block", at(2), statement_of_reasons=scam)
    nothing = await judged(database, "nothing", "allow", at(7))
    await decided(database, nothing, "block", at(8), blind=True)
    await decided(database, last, "allow", moment + timedelta(seconds=2), blind=True)
    await judged(database, "unsure", "abstain", at(8), abstain_reason="truncated")
    return database


async def report(database: AsyncEngine, period: Period = MAY, service: str = "Example") -> TransparencyReport:
    pack = shipped_pack()
    found = await count(database, period, pack)
    audits = await audited(database, period.start, period.end), await population(database, period.start, period.end)
    told = accuracies(*audits, await sampled_languages(database, period))
    return TransparencyReport(service, period, found, told, pack)


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def test_each_post_counts_once_when_it_was_first_blocked(known: AsyncEngine) -> None:
    found = await count(known, MAY, shipped_pack())
    assert found.measures == {
        CountedMeasure(SCAMS, illegal=False, automated=True, detected=True, language="de"): 2,
        CountedMeasure(SPEECH, illegal=True, automated=False, detected=True, language="fr"): 1,
        CountedMeasure(PRODUCTS, illegal=False, automated=False, detected=False, language=None): 1,
        CountedMeasure(OTHER, illegal=False, automated=True, detected=True, language=None): 1,
        CountedMeasure(MINORS, illegal=True, automated=True, detected=True, language=None): 1,
        CountedMeasure(OTHER, illegal=True, automated=True, detected=True, language=None): 1,
    }
    assert found.decisions == {"block": 8, "review": 1, "allow": 2, "abstain": 1}
    assert [found.automated_hours, found.people_hours] == pytest.approx([0.01, (2.01 + 4.01) / 2])
    assert (found.statements, found.models) == (3, {"demo"})
    assert (found.looked_at.of, found.looked_at.yes) == (2, 1)
    assert found.appeals == AppealFigures(filed=3, upheld=1, reversed=1, hours=(23 + 3) / 2)
    assert (found.reviews, found.reviewers) == (6, 5)
    assert found.oldest == at(30, month=4)


async def test_the_tables_hold_these_figures_in_the_templates_layout(known: AsyncEngine, tmp_path: Path) -> None:
    paths = write(await report(known), tmp_path / "new")
    folder = tmp_path / "new"
    assert {path.name for path in paths} == {path.name for path in folder.iterdir()}
    illegal = read(folder, "5_own_initiative_illegal.csv")
    terms = read(folder, "6_own_initiative_TC.csv")
    assert (len(illegal[0]), len(illegal), len(terms)) == (37, 1 + 89, 1 + 97)
    own, automated, disabled = template.MEASURES, template.DETECTED, template.DISABLED
    for table, category, expected in (
        (illegal, "TOTAL", ("3", "3", "3")),
        (illegal, SPEECH, ("1", "1", "1")),
        (illegal, MINORS, ("1", "1", "1")),
        (illegal, SCAMS, ("0", "0", "0")),
        (terms, "TOTAL", ("4", "3", "4")),
        (terms, SCAMS, ("2", "2", "2")),
        (terms, PRODUCTS, ("1", "0", "1")),
        (terms, OTHER, ("1", "1", "1")),
    ):
        (row,) = [row for row in table if list(row.values())[3] == category]
        assert (row[own], row[automated], row[disabled]) == expected, category
        assert (row["Service"], row["Reporting period"]) == ("Example", "2026-05-01/2026-05-31")
    complaints = read(folder, "7_appeals_and_recidivism.csv")
    assert len(complaints) == 47
    for indicator in (template.COMPLAINTS, template.COMPLAINTS_OF_REMOVAL):
        told = {row["Scope"]: row["Value"] for row in complaints if row["Indicator"] == indicator}
        assert [told[scope] for scope in ("Total number", "Decisions upheld", "Decisions reversed")] == ["3", "1", "1"]
        assert (told["Median time"], told["Decisions partially reversed"]) == ("13.0000", "")
    means = read(folder, "8_automated_means.csv")
    values = {(row["Indicator"], row["Scope"]): row["Value"] for row in means}
    solely, not_solely = template.AUTOMATED_MEASURES
    assert (values[solely, "Total number"], values[not_solely, "Total number"]) == ("5", "2")
    assert (values[solely, "de"], values[not_solely, "fr"], values[solely, "fr"]) == ("2", "1", "0")
    assert len(means) == 2 * 5 + 2 * 5 + 24 * 5
    open_rows = read(folder, "not_filled.csv")
    assert f"{OTHER}: 1 measures stand in TOTAL alone" in {row["what"] for row in open_rows}
    assert {"3", "4", "7", "10"} <= {row["table"] for row in open_rows}
    names = read(folder, "2_categories_names.csv")
    assert [row["Contextual information"] for row in names if SCAMS in row.values()] == ["Policies: financial_scam"]
    assert b"\r\n" in (folder / "9_human_resources.csv").read_bytes()


async def test_a_period_without_data_has_noughts_and_says_what_is_not_known(
    database: AsyncEngine, tmp_path: Path
) -> None:
    written = await report(database)
    assert written.figures == PeriodFigures()
    write(written, tmp_path)
    (first, *_) = read(tmp_path, "6_own_initiative_TC.csv")
    assert (first[template.MEASURES], first[f"Contextual Information on {template.MEASURES}"]) == ("0", "")
    assert {row["Value"] for row in read(tmp_path, "7_appeals_and_recidivism.csv")} == {""}
    accuracies = [row for row in read(tmp_path, "8_automated_means.csv") if "Accuracy" in row["Indicator"]]
    assert {(row["Value"], row["Contextual Information"]) for row in accuracies} == {("", "no audits"), ("", "")}
    assert "No verdict is kept." in (tmp_path / "report.html").read_text(encoding="utf-8")


async def test_a_name_runs_no_formula_and_no_markup(database: AsyncEngine, tmp_path: Path) -> None:
    written = await report(database, service='=HYPERLINK("x")<script>alert(1)</script>')
    write(written, tmp_path)
    for name in ("1_report_identification.csv", "6_own_initiative_TC.csv", "11_qualitative.csv"):
        assert {row["Service"][:2] for row in read(tmp_path, name)} == {"'="}
    assert "<script>" not in page(written)
    assert "&lt;script&gt;" in page(written)


def drawn(number: int, *, blocked: bool, is_sampled: bool, language: str) -> Verdict:
    """A verdict on a content of its own, with its draw."""
    outcome = Outcome.BLOCK if blocked else Outcome.ALLOW
    stratum, rate = ("block", 1.0) if blocked else ("allow_low", 0.2)
    return made(
        f"p-{number}",
        outcome,
        at(3),
        content=CONTENT.model_copy(update={"text_sha256": f"text {number}"}),
        policies=(POLICY.model_copy(update={"outcome": outcome, "violated": blocked}),),
        audit=AuditDraw(stratum=stratum, probability=rate, is_sampled=is_sampled),
        post_language=language,
    )


@ON_SQLITE
async def test_accuracy_comes_from_audits_by_the_language_that_posts_name(
    database: AsyncEngine, tmp_path: Path
) -> None:
    """Of 40 blocked posts all are drawn, and 4 violate nothing; of 200 allowed ones 40 are, and 4 of these violate."""
    blocks = [drawn(at, blocked=True, is_sampled=True, language="de" if at < 30 else "fr") for at in range(40)]
    allows = [drawn(at, blocked=False, is_sampled=at < 80, language="de-AT") for at in range(40, 240)]
    labels = [at < 36 for at in range(40)] + [at < 4 for at in range(40)]
    pairs = zip(blocks + allows, labels, strict=False)
    async with database.begin() as connection:
        await verdicts.put_rows(connection, [verdicts.verdict_row(one, at(3)) for one in blocks + allows])
        answers = [answer(one, "allow", at(4), POLICY.policy_id, blind=label) for one, label in pairs]
        await connection.execute(insert(reviews), answers)
    written = await report(database)
    whole = written.accuracy[None]
    told = (whole.accuracy, whole.precision, whole.recall, whole.wrong_blocks, whole.wrong_allows)
    assert [one.value for one in told] == pytest.approx([216 / 240, 36 / 40, 36 / 56, 4 / 40, 4 / 40])
    assert all(one.interval and one.interval[1] <= one.interval[0] <= one.interval[2] for one in told)
    write(written, tmp_path)
    means = {(row["Indicator"], row["Scope"]): row for row in read(tmp_path, "8_automated_means.csv")}
    indicator = template.ACCURACY[0]
    assert (means[indicator, "Own-initiative "]["Value"], written.accuracy["de"].labels) == ("0.9000", 70)
    assert means[indicator, "Total number"]["Contextual Information"].endswith("; 80 labels of blind audits")
    few = means[indicator, "fr"]
    assert (few["Value"], few["Contextual Information"]) == ("", "too few labels (10 of blind audits)")
    assert means[indicator, "ga"]["Contextual Information"] == "no audits"
    assert "Automatic blocks that violate no policy: 10.0% (95% interval" in rate_of_error(whole)
    assert "too few labels" in page(written)
