"""Posts of one content: judged once, each with a verdict of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from moderation_service.contracts.enums import DecidedBy, Decision
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Content, Verdict
from moderation_service.engine.base import ScoreRequest, ScoreResult
from moderation_service.errors import Poison, Transient
from moderation_service.judging.explanation import Explanation
from moderation_service.judging.judge import Judge
from moderation_service.judging.result_cache import CachedResult, ResultCache
from moderation_service.judging.shadow import ShadowResult
from moderation_service.policies.pack import PolicyPack
from moderation_service.policies.texts import Texts
from moderation_service.settings import JudgingSettings
from tests.judging.conftest import MakeJudge, make_image
from tests.judging.engines import RuleEngine, judge_by
from tests.stream.support import eventually

BROKEN = ImageRef(data="bm90IGEgcGljdHVyZQ==")
UNREACHABLE = ImageRef(url="https://127.0.0.1/x.png")  # refused: an address of this machine
SALE = Post(post_id="first", text="I sell this", images=(make_image(),), surface="feed", author_id="u-1")
WORDS_ALONE = Post(post_id="first", text="I will kill you")  # no thread decodes anything: the first begun is the first


def counted() -> tuple[float, float]:
    hits, misses = (REGISTRY.get_sample_value(f"moderation_cache_{kind}_total") for kind in ("hits", "misses"))
    return hits or 0.0, misses or 0.0


def like(post: Post, **fields: Any) -> Post:
    return post.model_copy(update={"post_id": "second", **fields})


async def verdict_on(judge: Judge, post: Post) -> Verdict:
    return (await judge.judge(post, trace_id="a" * 32)).verdict


class Held:
    """Holds the engine's calls until they are let go, and may fail them."""

    def __init__(self, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.failures: list[Exception] = []
        self._score = engine.score
        monkeypatch.setattr(engine, "score", self._held)

    async def _held(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.calls += 1
        await self.go.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await self._score(requests)


@pytest.fixture
def held(engine: RuleEngine, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(engine, monkeypatch)


async def test_a_duplicate_has_its_own_verdict_and_costs_the_engine_nothing(
    make_judge: MakeJudge, engine: RuleEngine
) -> None:
    judge = await make_judge()
    hits, misses = counted()
    first = await verdict_on(judge, SALE)
    asked = len(engine.requests)
    judged = await judge.judge(like(SALE, revision=3, author_id="u-2", metadata={"a": "b"}), trace_id="b" * 32)
    second = judged.verdict
    assert (asked, len(engine.requests), judged.tokens) == (3, 3, 0)
    assert counted() == (hits + 1, misses + 1)
    assert (first.duplicate_of, second.duplicate_of) == (None, first.verdict_id)
    assert second.verdict_id != first.verdict_id
    assert (second.post_id, second.post_revision, second.author_id) == ("second", 3, "u-2")
    assert (second.metadata, second.trace_id) == ({"a": "b"}, "b" * 32)
    assert second.judged_at > first.judged_at
    assert (second.timings_ms.attribution, second.timings_ms.explain) == (0, 0)
    assert second.statement_of_reasons is not None
    assert second.statement_of_reasons.puid == second.verdict_id
    for field in ("decision", "policies", "shadow", "content", "explanation", "flags", "model", "policy_set_digest"):
        assert getattr(second, field) == getattr(first, field), field


async def test_a_post_that_comes_again_is_no_duplicate_of_itself(make_judge: MakeJudge, engine: RuleEngine) -> None:
    judge = await make_judge()
    verdicts = [await verdict_on(judge, SALE) for _ in range(2)]
    assert [verdict.duplicate_of for verdict in verdicts] == [None, None]
    assert verdicts[0].verdict_id == verdicts[1].verdict_id
    assert len(engine.requests) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "I sell this "},
        {"text": "", "images": (make_image(),)},
        {"images": ()},
        {"images": (make_image("#fe0000"),)},
        {"images": (make_image(), make_image())},
        {"surface": "ads"},
        {"surface": None},
        {"language": "zh"},
    ],
    ids=str,
)
async def test_what_differs_in_anything_that_is_judged_is_judged_itself(
    make_judge: MakeJudge, changed: dict[str, Any]
) -> None:
    judge = await make_judge()
    await verdict_on(judge, SALE)
    assert (await verdict_on(judge, like(SALE, **changed))).duplicate_of is None


async def test_images_in_another_order_are_another_content(make_judge: MakeJudge) -> None:
    judge = await make_judge()
    red, blue = make_image(), make_image("blue")
    await verdict_on(judge, like(SALE, images=(red, blue)))
    assert (await verdict_on(judge, like(SALE, post_id="third", images=(blue, red)))).duplicate_of is None


async def test_an_image_that_could_not_be_had_is_looked_for_again_and_one_that_is_broken_is_not(
    make_judge: MakeJudge,
) -> None:
    judge = await make_judge()
    for images, duplicate in (((UNREACHABLE,), False), ((BROKEN,), True)):
        first = await verdict_on(judge, like(SALE, text="hello", images=images))
        second = await verdict_on(judge, like(SALE, post_id="third", text="hello", images=images))
        assert first.decision == second.decision == "abstain"
        assert second.duplicate_of == (first.verdict_id if duplicate else None)


async def test_other_policies_find_anew_even_where_only_a_title_differs(
    make_judge: MakeJudge, pack: PolicyPack
) -> None:
    judge = await make_judge()
    await verdict_on(judge, SALE)
    (weapons,) = (policy for policy in pack.policies if policy.id == "weapon_sale")
    titled = weapons.model_copy(update={"title": Texts({"en": "Arms", "zh": "武器"})})
    others = (policy for policy in pack.policies if policy.id != "weapon_sale")
    newer = judge.with_policies(PolicyPack((*others, titled)), None)
    second = await verdict_on(newer, like(SALE))
    assert newer.pack.digest == judge.pack.digest
    assert second.duplicate_of is None
    assert "Arms" in (second.explanation or "")


async def test_where_the_setting_is_0_every_post_is_judged(make_judge: MakeJudge, engine: RuleEngine) -> None:
    judge = await make_judge(result_cache_size=0)
    before = counted()
    verdicts = [await verdict_on(judge, post) for post in (SALE, like(SALE))]
    assert [verdict.duplicate_of for verdict in verdicts] == [None, None]
    assert len(engine.requests) == 6
    assert counted() == before


async def test_twins_in_work_together_wait_for_one_judgement(
    make_judge: MakeJudge, engine: RuleEngine, held: Held
) -> None:
    judge = await make_judge()
    judging = [asyncio.create_task(verdict_on(judge, like(SALE, post_id=f"p-{n}"))) for n in range(50)]
    await eventually(lambda: held.calls > 0, "the engine asked")
    held.go.set()
    verdicts = await asyncio.gather(*judging)
    assert len(engine.requests) == 3
    assert len({verdict.verdict_id for verdict in verdicts}) == 50
    (first,) = {verdict.duplicate_of for verdict in verdicts} - {None}
    assert [verdict.duplicate_of for verdict in verdicts if verdict.verdict_id == first] == [None]


@pytest.mark.parametrize("error", [Transient("engine_away", "away"), Poison("engine", "broken"), RuntimeError("a bug")])
async def test_where_the_first_fails_its_twins_are_judged(make_judge: MakeJudge, held: Held, error: Exception) -> None:
    judge = await make_judge()
    held.failures = [error]
    judging = [asyncio.create_task(verdict_on(judge, like(WORDS_ALONE, post_id=f"p-{n}"))) for n in range(3)]
    await eventually(lambda: held.calls > 0, "the engine asked")
    held.go.set()
    failed, second, third = await asyncio.gather(*judging, return_exceptions=True)
    assert failed is error
    assert isinstance(second, Verdict)
    assert isinstance(third, Verdict)
    assert sorted([second.duplicate_of, third.duplicate_of], key=bool) == [
        None,
        second.verdict_id if second.duplicate_of is None else third.verdict_id,
    ]


async def test_where_the_first_is_cancelled_its_twin_is_judged_and_a_cancelled_twin_takes_nobody_with_it(
    make_judge: MakeJudge, held: Held
) -> None:
    judge = await make_judge()
    judging = [asyncio.create_task(verdict_on(judge, like(WORDS_ALONE, post_id=f"p-{n}"))) for n in range(3)]
    await eventually(lambda: held.calls > 0, "the engine asked")
    judging[0].cancel()
    judging[1].cancel()
    await asyncio.wait(judging[:2])
    held.go.set()
    assert (await judging[2]).duplicate_of is None
    assert all(task.cancelled() for task in judging[:2])


async def test_what_a_failed_shadow_pack_left_out_is_not_kept(
    make_judge: MakeJudge, engine: RuleEngine, pack: PolicyPack
) -> None:
    (policy,) = (policy for policy in pack.policies if policy.id == "violence")
    shadow = PolicyPack((policy.model_copy(update={"id": "candidate"}),))
    judge = await make_judge(shadow_pack=shadow)

    def broken(policy_id: str, _: ScoreRequest) -> float:
        if policy_id == "candidate":
            raise RuntimeError(policy_id)
        return 0.1

    engine.rule = broken
    assert (await verdict_on(judge, SALE)).shadow == ()
    engine.rule = lambda *_: 0.1
    second = await verdict_on(judge, like(SALE))
    assert ([part.policy_id for part in second.shadow], second.duplicate_of) == (["candidate"], None)


WORDS = st.sampled_from(["", "I sell this", "hello museum", "kill"])
IMAGES = st.lists(st.sampled_from([make_image("red"), make_image("blue"), BROKEN]), max_size=2).map(tuple)
CONTENTS = st.tuples(WORDS, IMAGES, st.sampled_from([None, "feed"]), st.sampled_from([None, "en", "zh"])).filter(
    lambda content: bool(content[0] or content[1])
)
OWN = {"timings_ms", "judged_at", "duplicate_of", "statement_of_reasons"}


@settings(max_examples=25, deadline=None)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=12), entries=st.integers(0, 3))
def test_verdicts_are_the_same_with_and_without_reuse(contents: Sequence[Any], entries: int) -> None:
    posts = [
        Post(post_id=f"p-{n}", text=text, images=images, surface=surface, language=language)
        for n, (text, images, surface, language) in enumerate(contents)
    ]

    async def verdicts(result_cache_size: int) -> list[dict[str, Any]]:
        chosen = JudgingSettings(result_cache_size=result_cache_size, attribution_sample=0.5)
        async with judge_by(RuleEngine(), chosen) as judge:
            made = await asyncio.gather(*(verdict_on(judge, post) for post in posts))
        return [verdict.model_dump(exclude=OWN) for verdict in made]

    assert asyncio.run(verdicts(entries)) == asyncio.run(verdicts(0))


def findings(key: str, number: int) -> CachedResult:
    return CachedResult(
        post_id=key,
        revision=number,
        content=Content(text_sha256=key, language="en", truncated=False, images=()),
        flags=(),
        policies=(),
        shadow=ShadowResult((), (), tokens=0, is_complete=True),
        decision=Decision.ALLOW,
        decided_by=DecidedBy.MODEL,
        route=None,
        abstain_reason=None,
        explanation=Explanation(None, None),
        shadow_model=None,
        tokens=5,
        attribution_ms=1.0,
        explain_ms=1.0,
    )


async def get_or_compute(cache: ResultCache, key: str, compute: Callable[[], Awaitable[CachedResult]]) -> CachedResult:
    async with cache.entry(key) as entry:
        result = entry.result or await compute()
        entry.result = result
    return result


class Seekers:
    """Finds for many at once; no two may seek one content together."""

    def __init__(self) -> None:
        self._at: set[str] = set()
        self._found = 0

    async def find(self, key: str, *, steps: int, fails: bool) -> CachedResult:
        assert key not in self._at
        self._at.add(key)
        try:
            await turns(steps)
            if fails:
                raise LookupError(key)
            self._found += 1
            return findings(key, self._found)
        finally:
            self._at.remove(key)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


ASKED = st.tuples(st.sampled_from("abcd"), st.sampled_from(["found", "fails", "cancelled"]), st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(asked=st.lists(ASKED, max_size=20), most=st.integers(1, 3))
def test_each_has_the_findings_of_its_own_content_whatever_becomes_of_others(
    asked: Sequence[tuple[str, str, int]], most: int
) -> None:
    async def scenario() -> None:
        cache, seekers = ResultCache(most), Seekers()
        tasks = []
        for key, fate, steps in asked:
            compute = partial(seekers.find, key, steps=steps, fails=fate == "fails")
            tasks.append(asyncio.create_task(get_or_compute(cache, key, compute)))
            await turns(steps // 2)
            if fate == "cancelled":
                tasks[-1].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for (key, fate, _), outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, CachedResult):
                assert outcome.content.text_sha256 == key
            else:
                assert type(outcome) is {"fails": LookupError, "cancelled": asyncio.CancelledError}[fate]
        assert not cache._in_flight
        assert len(cache._kept) <= most

    asyncio.run(scenario())


async def test_the_content_asked_for_least_lately_is_forgotten_first() -> None:
    cache, sought = ResultCache(2), []

    async def ask(key: str) -> CachedResult:
        async def find() -> CachedResult:
            sought.append(key)
            return findings(key, len(sought))

        return await get_or_compute(cache, key, find)

    for key in "abacab":
        await ask(key)
    assert sought == ["a", "b", "c", "b"]
