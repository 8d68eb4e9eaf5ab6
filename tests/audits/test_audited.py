from datetime import UTC, datetime

from moderation_service.audits.audited import AnswerBasis, AuditedVerdict, BlindAnswer, JudgedPolicy, Stratum
from moderation_service.contracts.enums import AuditRound, Decision


def audited(*answers: tuple[AuditRound, bool]) -> AuditedVerdict:
    return AuditedVerdict(
        verdict_id="v",
        stratum=Stratum("review", 0.5),
        copies=1,
        language="en",
        judged_at=datetime(2026, 5, 1, tzinfo=UTC),
        decision=Decision.REVIEW,
        policies={"scam": JudgedPolicy(version=1, score=0.7, violated=True)},
        answers=tuple(BlindAnswer(each, f"r-{each}", {"scam": said}) for each, said in answers),
    )


def test_the_label_is_the_adjudicators_where_one_decided_and_else_the_first_answer() -> None:
    differing = audited((AuditRound.FIRST, True), (AuditRound.SECOND, False))
    assert differing.labels() == {"scam": True}
    decided = audited((AuditRound.FIRST, True), (AuditRound.SECOND, False), (AuditRound.ADJUDICATION, False))
    assert decided.labels() == {"scam": False}
    assert decided.labels(AnswerBasis.FIRST) == {"scam": True}


def test_a_policy_that_nobody_was_asked_about_has_no_label() -> None:
    assert audited().labels() == {}
    assert "doxxing" not in audited((AuditRound.FIRST, True)).labels()
