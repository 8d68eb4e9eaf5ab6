"""The gate's arithmetic, on outcomes written by hand."""

from datetime import UTC, datetime

import pytest
from scipy.stats import binomtest

from moderation_service.contracts.post import Post
from moderation_service.evaluation.golden_gate import EVERY, GateReport, PolicyGate, compare, mcnemar
from moderation_service.evaluation.golden_set import Baseline, GoldenOutcome, JudgedBy
from moderation_service.evaluation.labelled import Labelled, digest
from tests.contracts.examples import DIGEST, MODEL

BY = JudgedBy(policies={"spam": DIGEST}, policy_set_digest=DIGEST, model=MODEL)


def labelled(*violates: bool, policy: str = "spam") -> list[Labelled]:
    return [Labelled(Post(post_id=f"p{at}", text=f"words {at}"), {policy: truth}) for at, truth in enumerate(violates)]


def told(posts: list[Labelled], *flagged: bool, by: JudgedBy = BY) -> Baseline:
    outcomes = {
        one.post.post_id: GoldenOutcome(
            decision="review" if yes else "allow",
            scores=dict.fromkeys(one.labels, 0.9 if yes else 0.1),
            violated=tuple(one.labels) if yes else (),
        )
        for one, yes in zip(posts, flagged, strict=True)
    }
    return Baseline(data=digest(posts), recorded_at=datetime.now(UTC), judged_by=by, posts=outcomes)


def gate(report: GateReport, policy: str = "spam") -> PolicyGate:
    (found,) = (one for one in report.policies if one.policy_id == policy)
    return found


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (1, 0), (0, 6), (6, 0), (3, 9), (5, 5), (40, 60)])
def test_mcnemars_test_is_the_exact_binomial_one(worse: int, better: int) -> None:
    expected = binomtest(worse, worse + better).pvalue if worse + better else 1.0
    assert mcnemar(worse, better) == pytest.approx(expected)


def test_a_drop_over_the_margin_is_refused_with_the_posts_that_flipped_the_wrong_ones_first() -> None:
    posts = labelled(*[True] * 10, *[False] * 10)
    old = told(posts, *[True] * 10, True, *[False] * 9)
    new = told(posts, False, *[True] * 9, False, *[False] * 9)
    report = compare("release", posts, old, new, margin=0.05)
    found = gate(report)
    assert not report.passed
    assert (found.old["recall"], found.new["recall"], found.fallen) == (1.0, 0.9, ("recall",))
    assert (found.worse, found.better, found.p_value) == (1, 1, 1.0)
    assert [(flip.post_id, flip.is_right, flip.text) for flip in report.flips] == [
        ("p0", False, "words 0"),
        ("p10", True, "words 10"),
    ]
    low, high = found.intervals["recall"] or (0.0, 0.0)
    assert low < -0.1 < high <= 0


def test_a_drop_of_the_margin_itself_passes() -> None:
    posts = labelled(*[True] * 10)
    report = compare("release", posts, told(posts, *[True] * 10), told(posts, False, *[True] * 9), margin=0.1)
    assert report.passed


def test_new_false_alarms_are_refused_where_the_set_has_no_violation_at_all() -> None:
    posts = labelled(*[False] * 10)
    report = compare("release", posts, told(posts, *[False] * 10), told(posts, *[True] * 2, *[False] * 8), margin=0.05)
    assert gate(report).fallen == ("specificity",)
    assert report.as_json()["passed"] is False
    figures = report.as_json()["policies"]
    assert isinstance(figures, list)
    assert figures[0]["old"]["recall"] is None  # type: ignore[index,call-overload]


def test_a_policy_that_is_worse_is_refused_though_all_together_are_within_the_margin() -> None:
    posts = [*labelled(*[True] * 2), *[Labelled(Post(post_id=f"q{at}", text="x"), {"gore": True}) for at in range(98)]]
    report = compare("release", posts, told(posts, *[True] * 100), told(posts, False, *[True] * 99), margin=0.02)
    assert gate(report).fallen == ("recall", "f1")
    assert gate(report, EVERY).fallen == ()
    assert not report.passed


def test_every_input_that_changed_is_named() -> None:
    other = "sha256:" + "b" * 64
    model = MODEL.model_copy(update={"revision": "r2+adapter", "prompt_digest": other, "calibration_id": other})
    new = JudgedBy(policies={"spam": other, "gore": DIGEST}, policy_set_digest=other, model=model)
    assert BY.changes(BY) == []
    assert BY.changes(new) == [
        "policy gore: added",
        "policy spam: changed",
        "model.revision: r1 → r2+adapter",
        f"model.prompt_digest: {DIGEST} → {other}",
        f"model.calibration_id: None → {other}",
    ]
    assert new.changes(BY)[0] == "policy gore: removed"
