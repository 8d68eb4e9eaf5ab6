import asyncio
import threading
from collections.abc import Sequence

import pytest
import structlog
from prometheus_client import REGISTRY

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.engine.base import ExplainRequest, GeneratedText
from moderation_service.errors import Fatal, Transient
from moderation_service.judging import explanation as explaining
from moderation_service.judging.batcher import MAX_EXPLANATIONS
from moderation_service.judging.explanation import MAX_CHARACTERS, sanitize_explanation
from moderation_service.judging.judge import JudgeResult
from tests.judging.conftest import Ask, MakeJudge, make_image
from tests.judging.engines import RuleEngine

TEMPLATE = "only the image and the words together violate it"


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("moderation_explanations_total", {"outcome": outcome}) or 0.0


async def test_a_flagged_post_is_explained_in_the_models_words(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    before = counted("generated")
    verdict = await ask(await make_judge(explain="generate"), "I sell this", make_image())
    assert (verdict.explanation, verdict.explanation_kind) == (engine.words, "generated")
    ((request,),) = engine.explained
    assert (request.text, len(request.images), request.language) == ("I sell this", 1, "en")
    assert request.findings == (f"Sale of weapons; Does it sell a weapon?; {TEMPLATE}", *request.findings[1:])
    assert counted("generated") == before + 1


async def test_the_model_is_told_the_gravest_findings_first_and_few_of_them(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    scores = {"weapon_display": 0.99, "violence": 0.6, "weapon_sale": 0.95, "doxxing": 0.99, "health_misinformation": 1}
    engine.rule = lambda policy_id, _: scores.get(policy_id, 0.01)
    verdict = await ask(await make_judge(explain="generate"), "words", make_image())
    weights = {p.policy_id: (p.outcome == "block", p.severity, p.score) for p in verdict.policies if p.violated}
    assert len(weights) == len(scores)
    gravest = sorted(weights, key=weights.__getitem__, reverse=True)[:3]
    policies = {policy.id: policy for policy in (await make_judge()).pack.enforced}
    titles = [finding.split(";")[0] for finding in engine.explained[0][0].findings]
    assert titles == [policies[policy_id].title.in_language("en") for policy_id in gravest]


async def test_the_model_is_asked_and_answered_in_the_posts_language(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.words = "图片展示了一把刀。文字向买家出售它。"
    verdict = await ask(await make_judge(explain="generate"), "sell 卖刀给你", make_image())
    assert (verdict.explanation, verdict.explanation_kind) == (engine.words, "generated")
    (request,) = engine.explained[0]
    assert request.language == "zh"
    assert request.findings[0] == "武器交易; 是否出售武器？; 图片与文字结合才构成违规"


@pytest.mark.parametrize("explain", ["auto", "template"])
async def test_the_bundled_model_is_not_asked_to_talk(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, explain: str
) -> None:
    verdict = await ask(await make_judge(explain=explain), "I sell this", make_image())
    assert verdict.explanation is not None
    assert TEMPLATE in verdict.explanation
    assert verdict.explanation_kind == "template"
    assert engine.explained == []


async def test_only_flagged_posts_are_explained(make_judge: MakeJudge, ask: Ask, engine: RuleEngine) -> None:
    verdict = await ask(await make_judge(explain="generate"), "hello museum", make_image())
    assert (verdict.decision, verdict.explanation, verdict.explanation_kind) == ("allow", None, None)
    never = await ask(await make_judge(explain="never"), "I sell this", make_image())
    assert (never.decision, never.explanation, never.explanation_kind) == ("block", None, None)
    assert engine.explained == []


@pytest.mark.parametrize(
    ("language", "says"),
    [("en", "Not everything was judged: an image could not be decoded."), ("zh", "未能完整判断：有图片无法解码。")],
)
async def test_an_abstention_says_why_by_template(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, language: str, says: str
) -> None:
    judge = await make_judge(explain="generate")
    verdict = await ask(judge, "hello museum", make_image(), ImageRef(data="aGVsbG8="), language=language)
    assert (verdict.decision, verdict.explanation, verdict.explanation_kind) == ("abstain", says, "template")
    assert engine.explained == []


class Failing(RuleEngine):
    """Writes nothing: raises, or never comes to an end."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        self.explained.append(list(requests))
        if self.error:
            raise self.error
        return await asyncio.Future()


@pytest.mark.parametrize(
    ("engine", "outcome"),
    [
        (Failing(RuntimeError("secret words")), "failed"),
        (Failing(Transient("out_of_memory", "too much")), "failed"),
        (Failing(Fatal("the device is gone")), "failed"),
        (Failing(None), "timeout"),
    ],
)
async def test_an_engine_that_can_not_write_leaves_the_verdict_as_it_is(
    make_judge: MakeJudge, ask: Ask, engine: Failing, outcome: str
) -> None:
    before = counted(outcome)
    with structlog.testing.capture_logs() as logs:
        verdict = await ask(await make_judge(explain="generate", explain_timeout_s=0.05), "I sell this", make_image())
    assert verdict.decision == "block"
    assert verdict.explanation is not None
    assert TEMPLATE in verdict.explanation
    assert verdict.explanation_kind == "template"
    assert counted(outcome) == before + 1
    assert len(logs) == 1
    assert "secret words" not in str(logs)


@pytest.mark.parametrize(
    ("written", "outcome"),
    [
        (GeneratedText("", "itself", 20, 0), "empty"),
        (GeneratedText("The picture shows a weapon that", "length", 20, 128), "unfinished"),
        (GeneratedText("A gun and a gun and a gun and a gun and a gun.", "itself", 20, 12), "looping"),
        (GeneratedText("武器出现在图片里，文字在出售。", "itself", 20, 12), "wrong_language"),
        (GeneratedText("The picture shows a weapon. The words offer it.", "time", 20, 12), "timeout"),
    ],
)
async def test_words_that_are_not_fit_give_way_to_the_template(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, written: GeneratedText, outcome: str
) -> None:
    async def explain(requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        return [written for _ in requests]

    engine.explain = explain  # type: ignore[method-assign]
    before = counted(outcome)
    verdict = await ask(await make_judge(explain="generate"), "I sell this", make_image())
    assert verdict.explanation is not None
    assert TEMPLATE in verdict.explanation
    assert verdict.explanation_kind == "template"
    assert counted(outcome) == before + 1


async def test_comparing_words_with_a_long_post_holds_no_other_post_up(
    make_judge: MakeJudge, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def compare(written: str, post_text: str, language: Language) -> str:
        threads.append(threading.current_thread())
        return sanitize_explanation(written, post_text, language)

    monkeypatch.setattr(explaining, "sanitize_explanation", compare)
    await ask(await make_judge(explain="generate"), "I sell this", make_image())
    assert len(threads) == 1
    assert threading.main_thread() not in threads


async def test_scores_and_decisions_are_those_of_a_judge_that_explains_nothing(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    judges = [await make_judge(explain=explain) for explain in ("generate", "template", "never")]
    found = [await ask(judge, "I sell this", make_image()) for judge in judges]
    assert engine.explained
    apart = {"explanation", "explanation_kind", "timings_ms", "judged_at", "service"}
    assert [verdict.model_dump(exclude=apart) for verdict in found] == [found[0].model_dump(exclude=apart)] * 3


async def test_posts_are_explained_together(make_judge: MakeJudge, engine: RuleEngine) -> None:
    judge = await make_judge(explain="generate")
    posts = [Post(post_id=f"p-{n}", text=f"I sell this {n}", images=(make_image(),)) for n in range(5)]
    judged = await asyncio.gather(*(judge.judge(post, trace_id="a" * 32) for post in posts))
    assert sum(map(len, engine.explained)) == len(posts)
    assert len(engine.explained) < len(posts)
    assert {one.verdict.explanation_kind for one in judged} == {"generated"}


async def test_more_posts_than_the_next_call_takes_have_the_template_at_once(
    make_judge: MakeJudge, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go, explain, before = asyncio.Event(), asyncio.Event(), engine.explain, counted("busy")

    async def held(requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        entered.set()
        await go.wait()
        return await explain(requests)

    monkeypatch.setattr(engine, "explain", held)
    judge = await make_judge(explain="generate", explain_timeout_s=60.0)

    def judged(number: int) -> asyncio.Task[JudgeResult]:
        post = Post(post_id=f"p-{number}", text=f"I sell this {number}", images=(make_image(),))
        return asyncio.create_task(judge.judge(post, trace_id="a" * 32))

    first = judged(0)
    await entered.wait()
    waiting = {judged(number) for number in range(1, MAX_EXPLANATIONS + 4)}
    while len(waiting) > MAX_EXPLANATIONS:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().verdict.explanation_kind for task in done} == {"template"}
    assert counted("busy") - before == 3
    go.set()
    assert {(await task).verdict.explanation_kind for task in (first, *waiting)} == {"generated"}


async def test_no_explanation_is_longer_than_a_reader_bears(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine
) -> None:
    engine.words = "The picture shows a weapon. " + "The words offer it " * 3 + "x" * 500 + "."
    verdict = await ask(await make_judge(explain="generate"), "I sell this", make_image())
    assert verdict.explanation is not None
    assert len(verdict.explanation) <= MAX_CHARACTERS
