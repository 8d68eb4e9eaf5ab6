"""What is judged beside the policies in force: nothing of it may show in what they say."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.contracts.engine_input import Question
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.engine.base import ScoreRequest, ScoreResult
from moderation_service.errors import Transient
from moderation_service.policies.model import Policy, PolicyThresholds, Scope
from moderation_service.policies.pack import PolicyPack
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine

KILL = "I will kill you"


def changed(pack: PolicyPack, policy_id: str, **fields: Any) -> PolicyPack:
    """The pack with one policy changed."""
    policies = (p.model_copy(update=fields) if p.id == policy_id else p for p in pack.policies)
    return PolicyPack(tuple(policies))


def renamed(pack: PolicyPack, policy_id: str, **fields: Any) -> PolicyPack:
    """A pack of one policy that the other pack does not have, otherwise as its `violence`."""
    (policy,) = (p for p in pack.policies if p.id == "violence")
    return PolicyPack((policy.model_copy(update={"id": policy_id, **fields}),))


def flips(policy_id: str) -> float:
    return REGISTRY.get_sample_value("moderation_shadow_flips_total", {"policy": policy_id}) or 0.0


def decided(verdict: Verdict) -> tuple[object, ...]:
    return verdict.verdict_id, verdict.policy_set_digest, verdict.decision, verdict.policies, verdict.explanation


@pytest.fixture
def candidate(pack: PolicyPack) -> PolicyPack:
    """The shipped pack with another threshold, and one policy that is shadow even there."""
    loose = changed(pack, "violence", thresholds=PolicyThresholds(review=0.8, block=0.9))
    return changed(loose, "doxxing", mode="shadow")


async def test_every_policy_of_a_shadow_pack_is_listed_apart_and_nothing_else_changes(
    make_judge: MakeJudge, ask: Ask, candidate: PolicyPack
) -> None:
    alone = await ask(await make_judge(), KILL, make_image())
    beside = await ask(await make_judge(shadow_pack=candidate), KILL, make_image())
    assert decided(beside) == decided(alone)
    assert [part.policy_id for part in beside.shadow] == [policy.id for policy in candidate.policies]
    assert [part.digest for part in beside.shadow] == [policy.digest for policy in candidate.policies]
    assert [part.outcome for part in beside.shadow if part.policy_id == "violence"] == ["allow"]
    assert [part.outcome for part in beside.policies if part.policy_id == "violence"] == ["review"]


async def test_shadow_policies_share_no_call_of_the_engine_with_the_enforced(
    make_judge: MakeJudge, engine: RuleEngine, candidate: PolicyPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, go = engine.score, asyncio.Event()

    async def held(requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        await go.wait()
        return await score(requests)

    monkeypatch.setattr(engine, "score", held)
    judge = await make_judge(shadow_pack=candidate, attribution="always", result_cache_size=0)
    post = Post(post_id="p", text=KILL, images=(make_image(),))
    async with judge.load_evidence(post) as evidence:
        judging = []
        for _ in range(5):  # each finds the engine busy with those before it, and waits with all it asks
            judging.append(asyncio.create_task(judge.judge(post, trace_id="a" * 32, evidence=evidence)))
            for _ in range(20):
                await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*judging)

    def questions(policies: tuple[Policy, ...]) -> tuple[Question, ...]:
        return tuple(policy.to_question("en") for policy in policies)

    asked = [[request.questionnaire.questions for request in call] for call in engine.calls]
    shadow = {questions(candidate.enforced), questions(candidate.shadow)}
    enforced = [call for call in asked if not shadow & set(call)]
    assert max(map(len, enforced)) > 1
    assert sum(map(len, enforced)) == 5 * 3
    assert sum(map(len, asked)) == 5 * 9
    assert all(set(call) <= shadow for call in asked if call not in enforced)


async def test_each_part_of_a_shadow_pack_is_asked_as_it_would_be_in_force(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, candidate: PolicyPack
) -> None:
    await ask(await make_judge(shadow_pack=candidate, attribution="never"), "hello", make_image())
    beside = engine.requests[1:]
    engine.calls.clear()
    await ask(await make_judge(candidate, attribution="never"), "hello", make_image())
    assert sorted(map(_questionnaire, beside)) == sorted(map(_questionnaire, engine.requests))


def _questionnaire(request: ScoreRequest) -> list[str]:
    return [question.policy_id for question in request.questionnaire.questions]


async def test_a_shadow_set_that_fails_is_left_out_counted_as_no_flip_and_the_others_go_on(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, pack: PolicyPack, candidate: PolicyPack
) -> None:
    def rule(policy_id: str, request: ScoreRequest) -> float:
        if len(request.questionnaire.questions) == len(candidate.enforced):
            raise RuntimeError("only the candidate's enforced")
        return 0.7 if policy_id == "violence" else 0.01

    engine.rule = rule
    before = flips("violence")
    with capture_logs() as logged:
        verdict = await ask(await make_judge(pack, shadow_pack=candidate), KILL)
    assert [line["error"] for line in logged] == ["RuntimeError"]
    assert "candidate's" not in str(logged)
    assert verdict.decision == "review"
    assert [part.policy_id for part in verdict.shadow] == ["doxxing"]
    assert flips("violence") == before


async def test_shadow_work_ends_with_each_try_on_which_the_enforced_fail(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, candidate: PolicyPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, hung, asked = 10, asyncio.Event(), engine.score

    async def score(requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        if len(requests[0].questionnaire.questions) == len(candidate.enforced):
            await hung.wait()
        elif not hung.is_set():
            raise Transient("engine_away", "away")
        return await asked(requests)

    monkeypatch.setattr(engine, "score", score)
    judge, others = await make_judge(shadow_pack=candidate), len(asyncio.all_tasks())
    for _ in range(tries):
        with pytest.raises(Transient):
            await ask(judge, KILL)
    assert len(asyncio.all_tasks()) < others + tries
    hung.set()
    assert (await ask(judge, KILL)).shadow
    shadowed = [one for one in engine.requests if len(one.questionnaire.questions) == len(candidate.enforced)]
    assert len(shadowed) == 2  # the first try's, which was being answered, and the last


async def test_the_second_pack_goes_before_the_packs_own_shadow_policy_of_that_id(
    make_judge: MakeJudge, ask: Ask, pack: PolicyPack
) -> None:
    own = changed(changed(pack, "violence", mode="shadow"), "doxxing", mode="shadow")
    second = PolicyPack(tuple(p for p in pack.policies if p.id == "violence"))
    verdict = await ask(await make_judge(own, shadow_pack=second), KILL)
    digests = {part.policy_id: part.digest for part in verdict.shadow}
    assert [part.policy_id for part in verdict.shadow] == ["doxxing", "violence"]
    assert digests["violence"] == second.policies[0].digest


@pytest.mark.parametrize(
    ("fields", "text", "flipped"),
    [
        ({}, KILL, 0),
        ({"thresholds": PolicyThresholds(review=0.8, block=0.9)}, KILL, 1),  # weaker than the enforced one
        ({"thresholds": PolicyThresholds(review=0.5, block=0.6)}, KILL, 1),  # stronger
        ({"thresholds": PolicyThresholds(review=0.5, block=0.6)}, "hello", 0),
        ({"scope": Scope(surfaces=("market",))}, KILL, 1),  # the enforced flags what is out of its scope
        ({"scope": Scope(surfaces=("market",))}, "hello", 0),
    ],
)
async def test_a_flip_is_another_outcome_than_that_of_the_enforced_policy_of_the_same_id(
    make_judge: MakeJudge, ask: Ask, pack: PolicyPack, *, fields: dict[str, Any], text: str, flipped: int
) -> None:
    before = flips("violence")
    await ask(await make_judge(shadow_pack=changed(pack, "violence", **fields)), text)
    assert flips("violence") - before == flipped


@pytest.mark.parametrize(("score", "flipped"), [(0.7, 0), (0.95, 1), (0.1, 0)])
async def test_a_policy_that_has_no_enforced_one_beside_it_flips_where_it_is_stronger_than_the_decision(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, pack: PolicyPack, *, score: float, flipped: int
) -> None:
    engine.rule = lambda policy_id, _: {"threats": score, "violence": 0.7}.get(policy_id, 0.01)
    before = flips("threats")
    verdict = await ask(await make_judge(shadow_pack=renamed(pack, "threats")), KILL)
    assert (verdict.decision, verdict.shadow[0].policy_id) == ("review", "threats")
    assert flips("threats") - before == flipped


async def test_a_judge_by_other_policies_shares_all_else_and_leaves_the_first_as_it_is(
    make_judge: MakeJudge, ask: Ask, pack: PolicyPack, candidate: PolicyPack
) -> None:
    first = await make_judge()
    other = first.with_policies(candidate, pack)
    assert (await ask(first, KILL)).policy_set_digest == pack.digest
    verdict = await ask(other, KILL)
    assert (verdict.policy_set_digest, verdict.model) == (candidate.digest, first.model)
    assert verdict.decision == "allow"
    assert [part.outcome for part in verdict.shadow if part.policy_id == "violence"] == ["review"]
