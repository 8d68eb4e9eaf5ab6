import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from moderation_service.contracts.engine_input import Question, Questionnaire
from moderation_service.engine.base import ExplainRequest, GeneratedText, ScoreRequest, ScoreResult
from moderation_service.errors import Fatal, Transient
from moderation_service.judging import batcher as batching
from moderation_service.judging.batcher import MAX_EXPLANATIONS, Batcher
from moderation_service.settings import EngineSettings
from tests.judging.engines import INFO, RuleEngine

SHEET = Questionnaire("en", (Question("violence", "Violence?", ""),))


def request(text: str) -> ScoreRequest:
    return ScoreRequest(text, (), SHEET, (0,))


class GatedEngine(RuleEngine):
    """Holds its first call until the gate opens; breaks on the words `bad` and `fatal`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.entered.set()
        await self.gate.wait()
        if any(request.text == "bad" for request in requests):
            raise Transient("out_of_memory", "too much")
        if any(request.text == "fatal" for request in requests):
            raise Fatal("the device is gone")
        return await super().score(requests)


async def test_what_waits_while_one_call_runs_makes_the_next() -> None:
    engine = GatedEngine()
    async with Batcher(engine) as batcher, asyncio.TaskGroup() as group:
        first = group.create_task(batcher.score(request("one")))
        await engine.entered.wait()
        rest = [group.create_task(batcher.score(request("kill" if n % 2 else "calm"))) for n in range(5)]
        await asyncio.sleep(0)
        engine.gate.set()
        assert (await first).labels[0].score == 0.05
        assert [(await task).labels[0].score for task in rest] == [0.05, 0.7, 0.05, 0.7, 0.05]
    assert [len(call) for call in engine.calls] == [1, 5]


class ReadingEngine(GatedEngine):
    """Reads ahead, which shows in a request's words."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: asyncio.Queue[list[str]] = asyncio.Queue()
        self.reading = asyncio.Event()

    async def preprocess(self, requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
        self.reads.put_nowait([one.text[:2] for one in requests])
        await self.reading.wait()
        return [replace(one, text=f"{one.text} (read)") for one in requests]


async def test_what_waits_while_one_call_runs_is_read_meanwhile() -> None:
    engine = ReadingEngine()
    engine.reading.set()
    async with Batcher(engine) as batcher, asyncio.TaskGroup() as group:
        group.create_task(batcher.score(request("a1")))
        assert await engine.reads.get() == ["a1"]
        await engine.entered.wait()
        for text in ("a2", "a3"):
            group.create_task(batcher.score(request(text)))
        assert await engine.reads.get() == ["a2", "a3"]
        assert not engine.calls
        engine.gate.set()
    assert [[one.text for one in call] for call in engine.calls] == [["a1 (read)"], ["a2 (read)", "a3 (read)"]]


class StagingEngine(ReadingEngine):
    """Counts the bytes of pixels that are read and not yet scored; reads one token of an image."""

    info = replace(INFO, image_pixels=28 * 28)

    def __init__(self) -> None:
        super().__init__()
        self.reading.set()
        self.staged = self.most_staged = 0

    async def preprocess(self, requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
        self.staged += pixel_bytes(requests)
        self.most_staged = max(self.most_staged, self.staged)
        return await super().preprocess(requests)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        try:
            return await super().score(requests)
        finally:
            self.staged -= pixel_bytes(requests)


def pixel_bytes(requests: Sequence[ScoreRequest]) -> int:
    return sum(image.nbytes for request in requests for image in request.images)


async def test_what_is_read_ahead_of_a_slow_engine_is_bounded_however_many_wait_or_give_up() -> None:
    engine = StagingEngine()
    image = np.zeros((280, 280, 3), np.uint8)  # with the words' tokens a tenth of a batch
    batch = 10 * image.nbytes
    posts = [replace(request(f"{number:03}"), images=(image,)) for number in range(80)]
    async with Batcher(engine, EngineSettings(max_batch_tokens=1000)) as batcher, asyncio.TaskGroup() as group:
        tasks = [group.create_task(batcher.score(post)) for post in posts]
        await engine.entered.wait()
        await turns(100)
        assert 2 * batch <= engine.staged <= 3 * batch
        gone = {5, 15, *range(20, 60)}  # being scored, read, and waiting to be read
        for number in gone:
            tasks[number].cancel()
        engine.gate.set()
    assert engine.most_staged <= 3 * batch
    scored = [int(one.text[:3]) for call in engine.calls for one in call]
    assert scored == sorted(scored)
    assert {number for number, task in enumerate(tasks) if not task.cancelled()} == {*range(80)} - gone <= {*scored}


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_lanes_are_read_in_turn_and_who_gave_up_is_not_read() -> None:
    engine = ReadingEngine()
    engine.gate.set()

    async def ask(text: str) -> None:
        await batcher.score(request(f"{text}{'x' * 800}"), fairness_key=text[0])  # more than half of a call's tokens

    async with Batcher(engine, EngineSettings(max_batch_tokens=256)) as batcher, asyncio.TaskGroup() as group:
        group.create_task(ask("a1"))
        assert await engine.reads.get() == ["a1"]
        _, gone, *_ = [group.create_task(ask(text)) for text in ("a2", "a3", "a4", "b1")]
        await asyncio.sleep(0)
        gone.cancel()
        engine.reading.set()
    assert [engine.reads.get_nowait() for _ in range(3)] == [["a2"], ["b1"], ["a4"]]
    assert engine.reads.empty()
    assert [one.text[:2] for call in engine.calls for one in call] == ["a1", "a2", "b1", "a4"]


async def test_a_call_is_of_no_more_tokens_than_a_batch_may_have() -> None:
    engine = GatedEngine()
    engine.gate.set()
    long, short = request("x" * 3600), request("x" * 400)  # about 900 and 100 tokens, and 20 of the question
    async with Batcher(engine, EngineSettings(max_batch_tokens=1000)) as batcher:
        await asyncio.gather(*(batcher.score(one) for one in [*[short] * 10, *[long] * 2]))
    assert [len(call) for call in engine.calls] == [8, 2, 1, 1]


async def test_a_server_is_asked_in_many_calls_of_one_view_each_and_none_waits_for_the_slowest() -> None:
    class Slow(GatedEngine):
        async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
            return await (super().score(requests) if requests[0].text == "slow" else RuleEngine.score(self, requests))

    engine = Slow()
    settings = EngineSettings(kind="openai", base_url="http://server/v1", concurrent_requests=4)
    async with Batcher(engine, settings) as batcher, asyncio.TaskGroup() as group:
        slow = [group.create_task(batcher.score(request("slow"))) for _ in range(3)]
        assert len(await asyncio.gather(*(batcher.score(request("x")) for _ in range(9)))) == 9
        assert not any(task.done() for task in slow)
        engine.gate.set()
    assert {len(call) for call in engine.calls} == {1}


async def test_explanations_share_calls_of_their_own_which_are_smaller() -> None:
    engine = GatedEngine()
    why = ExplainRequest("x", (), "en", ("Violence",), timeout_s=60.0)
    async with Batcher(engine) as batcher, asyncio.TaskGroup() as group:
        score = group.create_task(batcher.score(request("one")))
        await engine.entered.wait()
        # Scoring is held: nobody waits for it to be explained.
        written = await asyncio.gather(*(batcher.explain(why) for _ in range(2 * MAX_EXPLANATIONS + 1)))
        assert {one.text for one in written} == {engine.words}
        assert not score.done()
        engine.gate.set()
    assert [len(call) for call in engine.explained] == [MAX_EXPLANATIONS, MAX_EXPLANATIONS, 1]


async def test_a_call_to_explain_has_the_time_that_the_last_who_waits_for_it_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Held(GatedEngine):
        async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
            self.entered.set()
            await self.gate.wait()
            return await super().explain(requests)

    engine = Held()
    why = ExplainRequest("x", (), "en", ("Violence",), timeout_s=60.0)
    async with Batcher(engine) as batcher, asyncio.TaskGroup() as group:
        group.create_task(batcher.explain(why))
        await engine.entered.wait()
        for within_s in (10.0, 20.0, 1e-9):
            group.create_task(batcher.explain(replace(why, timeout_s=within_s)))
        await asyncio.sleep(0)
        now = time.monotonic()
        monkeypatch.setattr(batching.time, "monotonic", lambda: now + 15.0)
        engine.gate.set()
    first, second = engine.explained
    assert first[0].timeout_s == pytest.approx(60.0, abs=1.0)
    assert [request.timeout_s for request in second] == pytest.approx([5.0] * 3, abs=1.0)


async def test_a_view_that_breaks_the_engine_takes_no_other_with_it() -> None:
    engine = GatedEngine()
    engine.gate.set()
    async with Batcher(engine) as batcher:
        answers = await asyncio.gather(*(batcher.score(request(t)) for t in ("a", "bad", "b")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ScoreResult, Transient, ScoreResult]


async def test_a_fatal_error_reaches_all_who_wait() -> None:
    engine = GatedEngine()
    engine.gate.set()
    async with Batcher(engine) as batcher:
        answers = await asyncio.gather(*(batcher.score(request(t)) for t in ("a", "fatal")), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Fatal, Fatal]
        assert (await batcher.score(request("goes on"))).tokens == 10


async def test_who_gave_up_waiting_is_not_asked_for() -> None:
    engine = GatedEngine()
    async with Batcher(engine) as batcher:
        first = asyncio.create_task(batcher.score(request("one")))
        await engine.entered.wait()
        gone = asyncio.create_task(batcher.score(request("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        engine.gate.set()
        await first
        await batcher.score(request("last"))
    assert [r.text for r in engine.requests] == ["one", "last"]


async def test_an_engine_that_answers_too_few_fails_the_call_and_not_the_batcher() -> None:
    class Short(RuleEngine):
        async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
            return (await super().score(requests))[1:]

    async with Batcher(Short()) as batcher:
        with pytest.raises(ValueError, match="shorter"):
            await batcher.score(request("x"))
        with pytest.raises(ValueError, match="shorter"):
            await batcher.score(request("y"))
