from typing import Any

import pytest

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.engine.base import ScoreRequest
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.layouts import moved, reworded, sensitivity, side_by_side, variants
from moderation_service.evaluation.metric_block import Bootstrap
from moderation_service.evaluation.run import JudgedPost
from moderation_service.judging.judge import Judge
from moderation_service.policies.pack import PolicyPack
from tests.evaluation.made import judged, run
from tests.judging.conftest import MakeJudge, engine, make_image, make_judge, pack
from tests.judging.engines import RuleEngine

__all__ = ["engine", "make_judge", "pack"]  # fixtures of the judge, used here

QUICK = Bootstrap(resamples=5)


def pair(
    name: str, before: dict[str, float], after: dict[str, float], changed: str | None = None
) -> tuple[JudgedPost, Verdict, str | None]:
    def scored(scores: dict[str, float]) -> JudgedPost:
        return judged(name, {}, {policy: (score, None, None) for policy, score in scores.items()})

    return scored(before), scored(after).verdict, changed


def test_moves_by_hand() -> None:
    found = moved(
        [
            # 0.1 and 0.3 on the average 0.2; both stay where they were: allow, and block
            pair("a", {"sale": 0.1, "cure": 0.95}, {"cure": 0.65 + 0.3, "sale": 0.5 - 0.1}),
            # the changed policy's own score does not count; the other crosses its threshold of 0.5
            pair("b", {"sale": 0.0, "cure": 0.45}, {"sale": 1.0, "cure": 0.55}, "sale"),
            # a policy that was removed; the other stays
            pair("c", {"sale": 0.9, "cure": 0.2}, {"cure": 0.2}, "sale"),
            # nothing is left to compare
            pair("d", {"sale": 0.9}, {}, "sale"),
        ],
        QUICK,
    )
    # posts move by (0.3 + 0) / 2, 0.1 and 0 on the average
    assert (found["posts"], found["largest_change"]) == (3, 0.3)
    assert found["mean_change"] == pytest.approx((0.15 + 0.1 + 0.0) / 3, abs=1e-4)
    assert found["decisions_changed"] == 0.3333
    assert found["intervals"].keys() == {"mean_change", "decisions_changed"}


def test_nothing_to_compare_is_no_error() -> None:
    assert moved([], QUICK) == {"posts": 0}


def test_each_policy_is_edited_and_removed_in_turn_and_all_are_shuffled(pack: PolicyPack) -> None:
    made = variants(pack, seed=0)
    ids = [policy.id for policy in pack.policies]
    for one in made["shuffled"]:
        order = [question.policy_id for question in one.pack.questionnaire("en", "enforce").questions]
        assert sorted(order) == sorted(policy.id for policy in pack.enforced)
        assert order != [policy.id for policy in pack.enforced]
    assert [one.changed for one in made["removed"]] == [one.changed for one in made["edited"]] == ids
    for number, policy in enumerate(pack.policies):
        assert [kept.id for kept in made["removed"][number].pack.policies] == [
            name for name in ids if name != policy.id
        ]
        edited = made["edited"][number].pack.policies
        assert [one.id for one, other in zip(edited, pack.policies, strict=True) if one != other] == [policy.id]


def test_an_edit_keeps_a_question_a_question_however_long_it_is(pack: PolicyPack) -> None:
    policy = pack.policies[0]
    long = policy.question.model_copy(update={"en": "x" * 199 + "?"})
    changed = reworded(policy.model_copy(update={"question": long}))
    assert changed.question.en == "x" * 199 + ", yes or no?"
    assert changed.question.zh.endswith("，是或否？")
    assert changed.digest != policy.digest


async def found_by(judge: Judge, count: int) -> dict[str, Any]:
    posts = [Post(post_id=str(at), text="I sell this", images=(make_image(),)) for at in range(count)]
    before = [JudgedPost(Labelled(post, {}), (await judge.judge(post, trace_id="a" * 32)).verdict) for post in posts]
    return await sensitivity(judge, before, QUICK)


async def test_policies_that_an_engine_asks_apart_do_not_move_one_another(make_judge: MakeJudge) -> None:
    found = await found_by(await make_judge(), 20)
    assert {kind: row["posts"] for kind, row in found.items()} == {"shuffled": 20, "edited": 20, "removed": 20}
    assert {(row["largest_change"], row["decisions_changed"]) for row in found.values()} == {(0.0, 0.0)}


async def test_an_engine_that_looks_at_a_policys_place_is_found_out(make_judge: MakeJudge, engine: RuleEngine) -> None:
    def by_place(policy_id: str, request: ScoreRequest) -> float:
        return [question.policy_id for question in request.questionnaire.questions].index(policy_id) / 20

    engine.rule = by_place
    found = await found_by(await make_judge(), 8)
    assert found["shuffled"]["mean_change"] > 0.05
    # each of 8 policies is removed once: those behind it, 3.5 of the other 7 on the average, move up by a place
    assert (found["removed"]["mean_change"], found["removed"]["largest_change"]) == (0.025, 0.05)
    assert found["edited"]["largest_change"] == 0.0


async def test_one_policy_alone_has_none_to_move(make_judge: MakeJudge, pack: PolicyPack) -> None:
    judge = await make_judge(PolicyPack(pack.policies[:1]))
    assert await sensitivity(judge, [judged("a", {}, {"sale": (0.1, None, None)})], QUICK) == {}


def test_what_stands_side_by_side_are_the_runs_own_figures() -> None:
    figures = figures_of(
        run(
            judged("a", {"sale": True}, {"sale": (0.9, 0.1, 0.1)}, "block", {"sale": "combined"}),
            judged("b", {"sale": False}, {"sale": (0.7, 0.1, 0.1)}, "abstain", {"sale": "none"}),
        ),
        source="t",
        bootstrap=QUICK,
    )
    row = side_by_side(figures)
    assert (row["f1"], row["combined_f1"], row["abstain_rate"]) == (0.6667, 0.6667, 0.5)
    assert row["ece"] == figures["calibration"]["ece"]
    assert row["attribution_macro_f1"] == figures["attribution"]["macro_f1"]
    assert row["intervals"]["f1"] == figures["overall"]["joint"]["intervals"]["f1"]
    assert row["posts_per_second"] == 1.0
    assert side_by_side(figures_of(run(), source="t", bootstrap=QUICK))["f1"] is None
