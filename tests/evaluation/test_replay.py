from typing import Any

import pytest

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import ImageStatus, Outcome
from moderation_service.contracts.verdict import Attribution, Thresholds, Verdict
from moderation_service.evaluation.replay import APART, TOLERANCE, Replayed, Summary, replayed
from moderation_service.evaluation.verdict_file import RecordedVerdict
from moderation_service.judging.calibration import Calibration, Isotonic
from tests.contracts.examples import CONTENT, IMAGE, MODEL, POLICY, verdict

UNCALIBRATED = Calibration(None, {})
OTHER = "sha256:" + "b" * 64
FP32 = TOLERANCE["float32"]
PLAIN = POLICY.model_copy(update={"raw_score": POLICY.score})


def recorded(**changes: Any) -> RecordedVerdict:
    return RecordedVerdict(1, verdict(**{"policies": (PLAIN,), **changes}))


def against(
    now: dict[str, Any], was: dict[str, Any] | None = None, calibration: Calibration = UNCALIBRATED
) -> Replayed:
    return replayed(recorded(**(was or {})), verdict(**{"policies": (PLAIN,), **now}), calibration)


def named(found: Replayed) -> list[str]:
    assert found.result == ("differs" if found.differences else "same")
    return [difference.what for difference in found.differences]


def policy(**changes: Any) -> dict[str, Any]:
    return {"policies": (PLAIN.model_copy(update=changes),)}


def test_times_instance_trace_and_duplicate_marks_are_no_difference() -> None:
    now = {"trace_id": "f" * 32, "duplicate_of": "p-1", "explanation": "x", "metadata": {}, "author_id": None}
    assert named(against(now)) == []
    assert set(Verdict.model_fields) >= APART


@pytest.mark.parametrize(
    ("now", "what"),
    [
        ({"decision": "review"}, ["decision"]),
        ({"decision": "abstain", "abstain_reason": "truncated"}, ["decision", "abstain_reason"]),
        ({"flags": ("truncated",)}, ["flags"]),
        ({"surface": None}, ["surface"]),
        ({"policy_set_digest": OTHER}, ["policy_set_digest"]),
        *(
            ({"model": MODEL.model_copy(update={field: "x"})}, [f"model.{field}"])
            for field in ("name", "revision", "dtype", "quantization", "engine", "layout", "prompt_digest")
        ),
        ({"model": MODEL.model_copy(update={"calibration_id": OTHER})}, ["model.calibration_id"]),
        ({"content": CONTENT.model_copy(update={"text_sha256": "cc"})}, ["content.text_sha256"]),
        ({"content": CONTENT.model_copy(update={"language": "zh"})}, ["content.language"]),
        ({"content": CONTENT.model_copy(update={"truncated": True})}, ["content.truncated"]),
        ({"content": CONTENT.model_copy(update={"images": ()})}, ["content.images[0]"]),
        ({"content": CONTENT.model_copy(update={"images": (IMAGE, IMAGE)})}, ["content.images[1]"]),
        (policy(digest=OTHER), ["policies.weapon_sale.digest"]),
        (policy(version=4, severity=5), ["policies.weapon_sale.version", "policies.weapon_sale.severity"]),
        (policy(outcome=Outcome.REVIEW), ["policies.weapon_sale.outcome"]),
        (policy(thresholds=Thresholds(review=0.5, block=0.90001)), ["policies.weapon_sale.thresholds"]),
        (policy(label_mass=0.98), ["policies.weapon_sale.label_mass"]),
        ({"policies": ()}, ["policies.weapon_sale"]),
        ({"policies": (), "shadow": (PLAIN,)}, ["policies.weapon_sale", "shadow.weapon_sale"]),
    ],
)
def test_what_differs_is_named(now: dict[str, Any], what: list[str]) -> None:
    assert named(against(now)) == what


def test_words_shown_to_reviewers_are_no_difference() -> None:
    """They follow from the image and the decision, and verdicts from before they were recorded have none."""
    shown = CONTENT.model_copy(update={"images": (IMAGE.model_copy(update={"text": "Call me"}),)})
    assert named(against({"content": shown})) == []


def test_matches_and_who_decided_are_compared_and_other_banks_are_told_apart_from_differences() -> None:
    match = BankMatch(
        bank="b", kind="terms", entry="e", action="block", policy=None, severity=3, route=None, digest=OTHER
    )
    was = {"matches": (match,), "decided_by": "bank", "banks_digest": OTHER}
    assert (named(against(was, was)), against(was, was).other_banks) == ([], False)
    removed = against({}, was)
    assert named(removed) == ["decided_by", "matches"]
    assert removed.row()["other_banks"] is True
    same = against({"banks_digest": OTHER})
    assert (named(same), same.other_banks) == ([], True)
    summary = Summary()
    summary.add(same)
    assert summary.line() == "1 verdicts: 1 the same, 1 recorded with other banks"
    assert summary.clean


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ({"status": ImageStatus.UNAVAILABLE, "sha256": None, "frames": 0, "width": None}, "content.images[0].status"),
        ({"sha256": "dd", "width": 5}, "content.images[0].sha256"),
        ({"frames": 2}, "content.images[0].frames"),
    ],
)
def test_an_image_is_named_once_by_what_the_rest_follows_from(image: dict[str, Any], what: str) -> None:
    now = CONTENT.model_copy(update={"images": (IMAGE.model_copy(update=image),)})
    assert named(against({"content": now})) == [what]


def test_a_shadow_result_is_compared_as_the_enforced_are() -> None:
    now = PLAIN.model_copy(update={"outcome": Outcome.REVIEW})
    assert named(against({"shadow": (now,)}, {"shadow": (PLAIN,)})) == ["shadow.weapon_sale.outcome"]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("part", "what"), [(0.9, []), (1.1, ["raw_score", "score"])])
def test_scores_differ_beyond_the_dtypes_tolerance(dtype: str, part: float, what: list[str]) -> None:
    moved = PLAIN.score - part * TOLERANCE[dtype]
    model = {"model": MODEL.model_copy(update={"dtype": dtype})}
    found = against({**policy(raw_score=moved, score=moved), **model}, model)
    assert named(found) == [f"policies.weapon_sale.{field}" for field in what]


def test_between_dtypes_the_looser_tolerance_holds() -> None:
    moved = PLAIN.score - 100 * FP32
    now = {**policy(raw_score=moved, score=moved), "model": MODEL.model_copy(update={"dtype": "bfloat16"})}
    assert named(against(now)) == ["model.dtype"]


def test_a_score_that_does_not_follow_from_its_raw_score_is_told() -> None:
    assert named(against({}, policy(score=0.95))) == ["policies.weapon_sale.score"]


def test_a_steep_calibration_makes_no_difference_of_scores_that_are_near() -> None:
    steep = Calibration("c", {"weapon_sale": Isotonic(scores=(0.5, 0.50002), probabilities=(0.6, 0.9))})
    low, high = policy(raw_score=0.5, score=0.6), policy(raw_score=0.50002, score=0.9)
    assert named(against(high, low, steep)) == []
    assert named(against(high, policy(raw_score=0.5, score=0.7), steep)) == ["policies.weapon_sale.score"]
    assert named(against(policy(raw_score=0.52, score=0.9), low, steep)) == [
        "policies.weapon_sale.raw_score",
        "policies.weapon_sale.score",
    ]


def test_attribution_is_compared_where_the_views_ran_both_times() -> None:
    one = Attribution(class_="combined", joint=0.97, text_only=0.11, image_only=0.22)
    other = Attribution(class_="image_only", joint=0.97, text_only=0.11, image_only=0.62)
    told = ["policies.weapon_sale.attribution.class", "policies.weapon_sale.attribution.image_only"]
    assert named(against(policy(attribution=other), policy(attribution=one))) == told
    assert named(against(policy(attribution=None), policy(attribution=one))) == []
    calibrated = Calibration("c", {"weapon_sale": Isotonic(scores=(0.0, 1.0), probabilities=(0.0, 1.0))})
    assert named(against(policy(attribution=other), policy(attribution=one), calibrated)) == told[:1]


def test_a_row_is_told_as_json() -> None:
    row = against({"decision": "review"}).row()
    assert row == {
        "line": 1,
        "post_id": "p-17",
        "post_revision": 2,
        "verdict_id": "v-1",
        "result": "differs",
        "why": None,
        "other_banks": False,
        "differences": [{"what": "decision", "was": "block", "now": "review"}],
    }
