import json
from collections.abc import Sequence

import numpy as np
import pytest

from moderation_service.contracts.post import Post
from moderation_service.evaluation.answers import answers
from moderation_service.evaluation.bootstrap import Bootstrap
from moderation_service.evaluation.calibrate import calibrate
from moderation_service.evaluation.calibrators import from_judged
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost
from moderation_service.evaluation.thresholds import Target
from tests.contracts.examples import verdict
from tests.evaluation.made import judged, part, run, without_views

QUICK = Bootstrap(resamples=20)
BOTH = {"sale": (0.9, 0.1, 0.2)}
HARMLESS = {"sale": (0.1, 0.1, 0.2)}
WORDS = {"sale": (0.8, 0.8, 0.1)}


def test_a_label_that_is_missing_is_unknown_and_no_negative() -> None:
    rows = answers([judged("a", {"sale": True}, {"sale": (0.9, 0.1, 0.1), "violence": (0.99, 0.9, 0.9)})])
    assert len(rows) == 1
    assert rows.truth.tolist() == [True]


def test_a_policy_that_was_not_asked_flags_nothing_and_is_attributed_to_nothing() -> None:
    rows = answers([judged("a", {"doxxing": False}, {"sale": (0.9, 0.1, 0.1)}, meant={"doxxing": "none"})])
    assert (rows.joint.tolist(), rows.flagged.tolist(), rows.asked.tolist()) == ([0.0], [False], [False])
    assert rows.meant.tolist() == rows.told.tolist()


def test_views_that_did_not_run_leave_attribution_unknown() -> None:
    posts = [without_views(judged("a", {"sale": True}, BOTH, meant={"sale": "combined"}))]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)
    assert found["attribution"]["answers"] == 0
    assert found["attribution"]["macro_f1"] is None


def test_every_figure_of_five_answers_by_hand() -> None:
    truth_of_score = {0.9: True, 0.8: True, 0.3: True, 0.6: False, 0.1: False}
    posts = [
        JudgedPost(
            Labelled(Post(post_id=str(score), text="x"), {"sale": truth}, slices=("new",)),
            verdict(post_id=str(score), decision="allow", policies=(part("sale", (score, 0.1, 0.1), raw=0.5),)),
        )
        for score, truth in truth_of_score.items()
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)
    # over 0.5 are 0.9, 0.8 and 0.6: two right of three, two found of three, one false alarm of two
    flagged = {"precision": 0.6667, "recall": 0.6667, "f1": 0.6667, "false_alarm_rate": 0.5}
    # precision is 1, 1, 3/4 where the violations stand; 5 of 6 pairs are the right way round
    ranked = {"pr_auc": 0.9167, "auroc": 0.8333, "recall_at_90_precision": 0.6667}
    # each score has a bin of its own, and is 0.1, 0.2, 0.7, 0.6 and 0.1 off
    calibrated = {"brier": 0.182, "ece": 0.34}
    for block, figures in (
        (found["overall"]["joint"], {**flagged, **ranked, "balanced_accuracy": 0.5833}),
        (found["policies"]["sale"], {**flagged, **ranked, **calibrated, "answers": 5, "violations": 3}),
        (found["slices"]["new"], {**flagged, "posts": 5, "answers": 5}),
        (found["calibration"], calibrated),
        # raw scores are all 0.5, and three of five are violations
        (found["calibration"]["raw"], {"brier": 0.25, "ece": 0.1}),
        (found["abstain"], {"rate": 0.0, "accuracy_on_decided": 0.4}),
    ):
        assert {name: block[name] for name in figures} == figures


def test_latency_by_hand() -> None:
    posts = [judged(str(at), {"sale": True}, BOTH) for at in range(3)]
    timed = [
        JudgedPost(
            one.labelled,
            one.verdict.model_copy(
                update={
                    "timings_ms": one.verdict.timings_ms.model_copy(
                        update={"total": total, "score": 1, "attribution": 2}
                    )
                }
            ),
        )
        for one, total in zip(posts, (10.0, 20.0, 40.0), strict=True)
    ]
    found = figures_of(run(*timed), source="t", bootstrap=QUICK)["latency_ms"]
    # 95% of the way from the first to the third is nine tenths of the way from the second to the third
    assert found["total"] == {"p50": 20.0, "p95": 38.0, "p99": 39.6}
    assert found["attribution"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert found["posts_per_second"] == 1.5


def test_a_slices_row_by_hand() -> None:
    posts = [
        judged("a", {"sale": True}, BOTH, "block", {"sale": "combined"}, slices=("new",)),
        judged("b", {"sale": True}, WORDS, "abstain", {"sale": "combined"}, slices=("new",)),
        judged("c", {"sale": False}, HARMLESS, "allow", {"sale": "none"}, slices=("new", "old")),
        judged("d", {"sale": False}, BOTH, "block", {"sale": "none"}, slices=("old",), twin_of="c"),
        judged("e", {"sale": True}, HARMLESS, "allow", {"sale": "combined"}),
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)["slices"]
    assert {name: (row["posts"], row["precision"], row["recall"]) for name, row in found.items()} == {
        "new": (3, 1.0, 1.0),
        "old": (2, 0.0, None),
    }
    # combined: one of two found, none wrongly; none: its one found
    assert found["new"]["attribution_macro_f1"] == 0.8333
    assert (found["new"]["abstain_rate"], found["old"]["abstain_rate"]) == (0.3333, 0.0)
    assert "against_twins" not in found["new"]
    twins = found["old"]["against_twins"]
    assert (twins["pairs"], twins["worse_share"], twins["better_share"]) == (1, 1.0, 0.0)


def test_combined_counts_what_only_the_combination_makes_and_what_is_harmless() -> None:
    posts = [
        judged("a", {"sale": True}, BOTH, meant={"sale": "combined"}),
        judged("b", {"sale": True}, HARMLESS, meant={"sale": "combined"}),
        judged("c", {"sale": False}, WORDS, meant={"sale": "none"}),
        judged("d", {"sale": False}, HARMLESS, meant={"sale": "none"}),
        # a violation that the words alone make, and a policy without combined ones: neither is asked
        judged("e", {"sale": True}, HARMLESS, meant={"sale": "text_only"}),
        judged("f", {"doxxing": True}, {"doxxing": (0.1, 0.1, 0.1)}, meant={"doxxing": "text_only"}),
        judged("g", {"sale": True}, HARMLESS, meant={"sale": "combined"}, slices=("unseen_pictograms",), apart=True),
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)["combined"]
    assert (found["answers"], found["violations"]) == (4, 2)
    assert found["f1"] == found["precision"] == found["recall"] == 0.5
    assert found["unseen_pictograms_f1"] == 0.0
    assert found["every_slice_f1"] == 0.4
    assert found["baselines"]["text_only"]["recall"] == 0.0
    assert found["baselines"]["always_no"]["balanced_accuracy"] == 0.5


def test_the_baselines_are_judged_on_the_same_answers() -> None:
    posts = [
        judged("a", {"sale": True}, {"sale": (0.9, 0.1, 0.2)}),
        judged("b", {"sale": True}, {"sale": (0.9, 0.7, 0.2)}),
        judged("c", {"sale": False}, {"sale": (0.1, 0.1, 0.6)}),
        judged("d", {"sale": False}, {"sale": (0.1, None, 0.2)}),
    ]
    table = figures_of(run(*posts), source="t", bootstrap=QUICK)["overall"]
    assert {name: (row["precision"], row["recall"]) for name, row in table.items()} == {
        "joint": (1.0, 1.0),
        "always_no": (None, 0.0),
        "text_only": (1.0, 0.5),
        "image_only": (0.0, 0.0),
        "either": (0.5, 0.5),
    }


def test_xor_is_told_by_post_with_the_policies_that_only_the_combination_violates() -> None:
    both, neither = (
        {"sale": (0.9, 0.1, 0.1), "cure": (0.1, 0.1, 0.1)},
        {"sale": (0.1, 0.6, 0.2), "cure": (0.2, 0.1, 0.1)},
    )
    labels = [{"sale": True, "cure": False}, {"sale": False, "cure": True}, {"sale": False, "cure": False}]
    meant = [{"sale": "combined", "cure": "none"}, {"sale": "none", "cure": "combined"}, {}]
    views = [both, {"sale": (0.1, 0.1, 0.1), "cure": (0.7, 0.2, 0.3)}, neither]
    posts = [
        # a weapon's display is the image's alone, and none of the core's question
        judged(
            str(at),
            {**labels[at], "display": True},
            {**views[at], "display": (0.9, 0.1, 0.9)},
            meant={**meant[at], "display": "image_only"},  # type: ignore[dict-item]
            slices=("xor",),
        )
        for at in range(3)
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)["xor"]
    assert (found["posts"], found["violations"]) == (3, 2)
    assert found["joint"]["balanced_accuracy"] == 1.0
    assert found["baselines"]["image_only"]["balanced_accuracy"] == 0.5
    assert found["baselines"]["text_only"]["balanced_accuracy"] == 0.0, "it flags the harmless post only"
    assert found["baselines"]["always_no"]["balanced_accuracy"] == 0.5


def test_attribution_of_a_run() -> None:
    posts = [
        judged("a", {"sale": True}, BOTH, meant={"sale": "combined"}),
        judged("b", {"sale": True}, WORDS, meant={"sale": "combined"}),
        judged("c", {"sale": False}, HARMLESS, meant={"sale": "none"}),
        judged("d", {"sale": False}, {"sale": (0.1, 0.1, 0.9)}, meant={"sale": "context_mitigated"}),
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)["attribution"]
    assert found["f1"] == {"combined": 0.6667, "context_mitigated": 1.0, "none": 1.0}
    assert found["macro_f1"] == 0.8889
    assert found["cases"]["combined"] == 2
    classes = found["confusion"]["classes"]
    assert found["confusion"]["counts"][classes.index("combined")][classes.index("text_only")] == 1


def test_abstaining_and_being_right_on_the_rest() -> None:
    posts = [
        judged("a", {"sale": True}, BOTH, "block"),
        judged("b", {"sale": False}, HARMLESS, "review"),
        judged("c", {"sale": False}, HARMLESS, "allow"),
        judged("d", {"sale": True}, HARMLESS, "abstain"),
        judged("e", {}, HARMLESS, "allow"),  # nobody knows
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)["abstain"]
    assert (found["posts"], found["decided_and_known"]) == (5, 3)
    assert found["rate"] == 0.2
    assert found["accuracy_on_decided"] == 0.6667


def test_injection_is_worse_when_a_violation_gets_a_weaker_decision_or_a_harmless_post_a_stronger() -> None:
    def pair(name: str, bad: bool, before: str, after: str) -> list[JudgedPost]:  # noqa: FBT001
        scores = BOTH if bad else HARMLESS
        first = judged(name, {"sale": bad}, scores, before)  # type: ignore[arg-type]
        copy = judged(f"{name}2", {"sale": bad}, scores, after, slices=("injection",), twin_of=name, apart=True)  # type: ignore[arg-type]
        return [first, copy]

    posts = [
        *pair("a", True, "block", "allow"),
        *pair("b", True, "review", "block"),
        *pair("c", False, "allow", "review"),
        *pair("d", False, "allow", "allow"),
    ]
    found = figures_of(run(*posts), source="t", bootstrap=QUICK)
    assert (found["injection"]["pairs"], found["injection"]["worse_share"], found["injection"]["better_share"]) == (
        4,
        0.5,
        0.25,
    )
    assert found["data"]["posts_overall"] == 4, "the copies are apart"


def test_slices_and_policies_have_rows_and_all_of_it_is_json() -> None:
    posts = [judged(str(at), {"sale": at % 2 == 0}, BOTH, "block", slices=("new",)) for at in range(4)]
    found = figures_of(run(*posts), source="t", left_out=3, bootstrap=QUICK)
    assert found["slices"]["new"]["f1"] == 0.6667
    assert found["slices"]["new"]["posts"] == 4
    assert found["policies"]["sale"]["precision"] == 0.5
    assert found["policies"]["sale"]["either_f1"] == 0.0
    assert found["data"]["left_out"] == 3
    assert found["latency_ms"]["total"]["p50"] == 61
    assert found["latency_ms"]["posts_per_second"] == 2.0
    assert found["xor"] is None
    assert found["injection"] is None
    assert "NaN" not in json.dumps(found)


def test_without_a_single_verdict_there_are_no_figures_and_no_error() -> None:
    found = figures_of(run(), source="t", bootstrap=QUICK)
    assert found["data"]["posts"] == 0
    assert json.dumps(found)


def _scored(count: int, seed: int) -> list[JudgedPost]:
    """Scores that tell violations well."""
    rng = np.random.default_rng(seed)
    posts = []
    for at in range(count):
        truth = bool(rng.random() < 0.5)
        score = float(np.clip(rng.normal(0.8 if truth else 0.2, 0.15), 0, 1))
        posts.append(judged(f"p{at}", {"sale": truth}, {"sale": (score, score / 2, score / 3)}))
    return posts


def shuffled(posts: Sequence[JudgedPost], seed: int) -> list[JudgedPost]:
    """The same posts, each with another's labels."""
    order = np.random.default_rng(seed).permutation(len(posts))
    return [
        JudgedPost(Labelled(one.labelled.post, posts[at].labelled.labels), one.verdict)
        for one, at in zip(posts, order, strict=True)
    ]


def test_shuffled_labels_give_chance_and_no_calibration() -> None:
    posts = _scored(600, 0)
    assert calibrate(from_judged(posts), {}, data="d").file.policies
    right = figures_of(run(*posts), source="t", bootstrap=QUICK)["overall"]["joint"]
    assert right["auroc"] > 0.98
    chance = figures_of(run(*shuffled(posts, 1)), source="t", bootstrap=QUICK)["overall"]["joint"]
    assert chance["auroc"] == pytest.approx(0.5, abs=0.06)
    assert chance["balanced_accuracy"] == pytest.approx(0.5, abs=0.06)
    low, high = chance["intervals"]["auroc"]
    assert low < 0.5 < high
    made = calibrate(from_judged(shuffled(posts, 1)), {}, data="d", target=Target("recall", 0.9))
    assert not made.file.policies
    assert made.lines[0].refused
    assert (made.lines[0].precision, made.lines[0].recall) == (None, None)


def test_the_same_seed_gives_the_same_figures() -> None:
    posts = _scored(50, 0)
    first, again, other = (figures_of(run(*posts), source="t", bootstrap=Bootstrap(seed, 20)) for seed in (1, 1, 2))
    assert first == again
    assert first["overall"]["joint"]["intervals"] != other["overall"]["joint"]["intervals"]
    assert first["overall"]["joint"]["f1"] == other["overall"]["joint"]["f1"]


def test_a_shadow_policys_answers_count_too() -> None:
    shadowed = judged("a", {}, {}).verdict.model_copy(update={"shadow": (part("sale", (0.9, 0.1, 0.1)),)})
    rows = answers([JudgedPost(Labelled(Post(post_id="a", text="x"), {"sale": True}), shadowed)])
    assert rows.joint.tolist() == [0.9]
