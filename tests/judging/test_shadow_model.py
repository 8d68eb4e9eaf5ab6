"""A second model beside the one in force: what it says is listed apart, and nothing of it shows in what is decided."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.engine.base import ScoreRequest, ScoreResult
from moderation_service.errors import Transient
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.judging.shadow_model import FAILURES, PAUSE_S, ShadowModel
from moderation_service.settings import JudgingSettings
from tests.contracts.examples import MODEL
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine, combined
from tests.judging.test_known_content import TERM, banks
from tests.timing import Clock

KILL = "I will kill you"
PATIENT_S, IMPATIENT_S = 30.0, 0.01


class HangingEngine(RuleEngine):
    """Answers once it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.calls.append(list(requests))
        await self.go.wait()
        return [self._answer(request) for request in requests]


@asynccontextmanager
async def shadow_by(engine: RuleEngine, clock: Clock | None = None, **settings: Any) -> AsyncIterator[ShadowModel]:
    """A shadow model that is up, and judges every post."""
    judging = JudgingSettings(**{"shadow_share": 1.0, "shadow_wait_s": PATIENT_S, **settings})
    shadow = ShadowModel(judging, Calibration.load(None), **({"clock": clock} if clock else {}))
    async with Batcher(engine, is_measured=False) as batcher:
        shadow.use(batcher, MODEL)
        yield shadow


def posts(outcome: str) -> float:
    return REGISTRY.get_sample_value("moderation_shadow_model_posts_total", {"outcome": outcome}) or 0.0


def flips(policy_id: str) -> float:
    return REGISTRY.get_sample_value("moderation_shadow_model_flips_total", {"policy": policy_id}) or 0.0


def decided(verdict: Verdict) -> tuple[object, ...]:
    return verdict.verdict_id, verdict.model, verdict.decision, verdict.policies, verdict.shadow, verdict.explanation


async def test_what_the_second_model_says_is_listed_apart_and_nothing_else_changes(
    make_judge: MakeJudge, ask: Ask
) -> None:
    alone = await ask(await make_judge(), KILL, make_image())
    engine = RuleEngine(lambda policy_id, _: 0.97 if policy_id == "doxxing" else 0.01)
    before = {policy: flips(policy) for policy in ("violence", "doxxing", "weapon_sale")}
    async with shadow_by(engine) as shadow:
        beside = await ask(await make_judge(shadow_model=shadow), KILL, make_image())
    assert decided(beside) == decided(alone)
    assert alone.shadow_model is None
    assert beside.shadow_model
    assert beside.shadow_model.model == MODEL
    violated = {part.policy_id for part in beside.shadow_model.policies if part.violated}
    assert violated == {"doxxing"}
    assert [part.policy_id for part in beside.shadow_model.policies] == [part.policy_id for part in beside.policies]
    assert {policy: flips(policy) - count for policy, count in before.items()} == {
        "violence": 1,  # the first model alone
        "doxxing": 1,  # the second alone
        "weapon_sale": 0,
    }
    assert len(engine.requests) == 1, "no modality passes"


async def test_a_model_that_is_late_is_waited_for_no_longer_than_is_set_and_its_work_is_dropped(
    make_judge: MakeJudge, ask: Ask
) -> None:
    before, engine = posts("late"), HangingEngine()
    async with shadow_by(engine, shadow_wait_s=IMPATIENT_S) as shadow:
        judge = await make_judge(shadow_model=shadow)
        others = len(asyncio.all_tasks())
        verdict = await asyncio.wait_for(ask(judge, KILL), timeout=5)
        assert (verdict.decision, verdict.shadow_model) == ("review", None)
        assert posts("late") - before == 1
        assert len(asyncio.all_tasks()) <= others + 1, "but for the engine's call, which can't be taken back"


async def test_a_model_that_fails_is_left_out_and_logged_without_its_words(make_judge: MakeJudge, ask: Ask) -> None:
    def broken(_: str, __: ScoreRequest) -> float:
        raise RuntimeError("words of the post")

    before = posts("failed")
    async with shadow_by(RuleEngine(broken)) as shadow:
        with capture_logs() as logged:
            verdict = await ask(await make_judge(shadow_model=shadow), KILL)
    assert (verdict.decision, verdict.shadow_model) == ("review", None)
    assert posts("failed") - before == 1
    assert [line["error"] for line in logged] == ["RuntimeError"]


async def test_after_some_failures_in_a_row_it_is_not_asked_for_a_while(
    make_judge: MakeJudge, ask: Ask, clock: Clock
) -> None:
    healthy = False

    def rule(policy_id: str, request: ScoreRequest) -> float:
        if not healthy:
            raise RuntimeError
        return combined(policy_id, request)

    engine, before = RuleEngine(rule), posts("unasked")
    async with shadow_by(engine, clock) as shadow:
        judge = await make_judge(shadow_model=shadow, result_cache_size=0)
        for _ in range(FAILURES + 2):
            await ask(judge, KILL)
        asked, healthy = len(engine.calls), True
        assert asked == FAILURES
        assert posts("unasked") - before == 2
        clock.now += PAUSE_S
        assert (await ask(judge, KILL)).shadow_model


async def test_until_its_engine_is_up_posts_are_judged_without_it(make_judge: MakeJudge, ask: Ask) -> None:
    before = posts("unasked")
    shadow = ShadowModel(JudgingSettings(shadow_share=1.0), Calibration.load(None))
    assert (await ask(await make_judge(shadow_model=shadow), KILL)).shadow_model is None
    assert posts("unasked") - before == 1


async def test_shadow_work_ends_with_each_try_on_which_the_model_in_force_fails(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Sequence[ScoreRequest]) -> list[ScoreResult]:
        raise Transient("engine_away", "away")

    monkeypatch.setattr(engine, "score", away)
    async with shadow_by(HangingEngine()) as shadow:
        judge = await make_judge(shadow_model=shadow)
        others = len(asyncio.all_tasks())
        for _ in range(5):
            with pytest.raises(Transient):
                await ask(judge, KILL)
        assert len(asyncio.all_tasks()) <= others + 1


async def test_the_share_is_drawn_by_content(make_judge: MakeJudge) -> None:
    async def drawn(judge: Judge, number: int, name: str) -> bool:
        post = Post(post_id=name, text=f"words {number}")
        return bool((await judge.judge(post, trace_id="a" * 32)).verdict.shadow_model)

    async with shadow_by(RuleEngine(), shadow_share=0.3) as shadow:
        judge = await make_judge(shadow_model=shadow, result_cache_size=0)
        first = [await drawn(judge, number, "p") for number in range(300)]
        again = [await drawn(judge, number, "q") for number in range(300)]
    assert first == again
    assert 60 < sum(first) < 120  # 90 are expected; further off than this is one chance in ten thousand


async def test_a_duplicate_has_what_was_said_of_the_first(make_judge: MakeJudge, ask: Ask) -> None:
    async with shadow_by(engine := RuleEngine()) as shadow:
        judge = await make_judge(shadow_model=shadow)
        first = await ask(judge, KILL)
        second = (await judge.judge(Post(post_id="p-2", text=KILL), trace_id="a" * 32)).verdict
    assert second.duplicate_of == first.verdict_id
    assert second.shadow_model == first.shadow_model
    assert len(engine.calls) == 1


@pytest.mark.parametrize(("properties", "asked"), [({}, 1), ({"route": "child_safety"}, 0), ({"action": "block"}, 0)])
async def test_a_post_that_a_bank_decides_on_or_routes_is_not_asked(
    make_judge: MakeJudge, ask: Ask, properties: dict[str, Any], asked: int
) -> None:
    known = banks(({"action": "review", **properties}, [TERM]))
    async with shadow_by(engine := RuleEngine()) as shadow:
        await ask(await make_judge(shadow_model=shadow, banks=known), "a badword")
    assert len(engine.calls) == asked
