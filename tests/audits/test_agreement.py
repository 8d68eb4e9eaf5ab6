"""Agreement: the published examples' figures."""

from datetime import UTC, datetime

import pytest

from moderation_service.audits.agreement import agreement, cohens_kappa, krippendorffs_alpha
from moderation_service.audits.audited import AuditedVerdict, BlindAnswer, Stratum
from moderation_service.contracts.enums import AuditRound, Decision


def audited(first: bool, second: bool | None) -> AuditedVerdict:  # noqa: FBT001 - two answers
    answers = [BlindAnswer(AuditRound.FIRST, "ada", {"scam": first})]
    if second is not None:
        answers.append(BlindAnswer(AuditRound.SECOND, "bo", {"scam": second}))
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    return AuditedVerdict("v", Stratum("review", 0.5), 1, "en", moment, Decision.REVIEW, {}, tuple(answers))


def test_kappa_of_two_raters_on_fifty_proposals() -> None:
    """Both yes 20, only the first 5, only the second 10, both no 15: 0.4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)


def test_alpha_of_krippendorffs_example_of_four_observers() -> None:
    """Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), nominal data with missing answers: 0.743."""
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    units = [[row[at] for row in observers if row[at] != "."] for at in range(12)]
    assert krippendorffs_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_where_all_answers_are_the_same_there_is_no_agreement_beyond_chance_to_tell() -> None:
    assert cohens_kappa([(False, False)] * 9) is None
    assert krippendorffs_alpha([(False, False)] * 9) is None


def test_agreement_is_of_posts_with_two_answers_and_not_told_of_few() -> None:
    rows = [audited(n % 2 == 0, n % 2 == 0 if n % 10 else n % 2 == 1) for n in range(40)]
    found = agreement([*rows, *(audited(first=True, second=None) for _ in range(50))], "scam")
    assert (found.pairs, found.share) == (40, 0.9)
    assert found.kappa == pytest.approx(0.8, abs=0.01)
    assert found.alpha == pytest.approx(0.8, abs=0.01)
    assert agreement(rows[:29]).kappa is None
    assert agreement(rows[:29]).pairs == 29
    assert agreement(rows).pairs == 40
