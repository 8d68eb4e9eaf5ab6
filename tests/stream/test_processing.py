import asyncio
import json

import pytest
import stamina
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.contracts.dead_letter import DeadLetter
from moderation_service.contracts.envelope import Headers
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Poison, Transient
from moderation_service.kafka.sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream import processing as module
from moderation_service.stream.processing import BUG_TRIES, Arrived, Processing
from tests.stream.records import record
from tests.stream.support import FakeJudge, eventually

SETTINGS = KafkaSettings(max_message_bytes=64 * 1024)
POST = b'{"post_id": "p1", "text": "hello"}'
SECRET = "the words of the post"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 0.005)


class Failing:
    """Raises `errors` one after the other, then passes."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    async def __call__(self, _: Post) -> None:
        if self.errors:
            raise self.errors.pop(0)


def processing(*errors: BaseException) -> tuple[Processing, FakeJudge]:
    judge = FakeJudge(before=Failing(*errors))
    return Processing(SETTINGS, judge), judge


def headers(found: Headers) -> dict[str, str]:
    return {name: value.decode() for name, value in found}


def retries(reason: str) -> float:
    return REGISTRY.get_sample_value("moderation_retries_total", {"reason": reason}) or 0.0


async def test_a_post_becomes_its_verdict_in_the_producers_trace() -> None:
    line, _ = processing()
    traced = record(POST, headers=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()),))
    finished = await line.finish(Arrived.of(traced))
    output = finished.output
    assert (finished.outcome, output.topic, output.key) == ("verdict", SETTINGS.output_topic, b"p1")
    assert output.value is not None
    verdict = json.loads(output.value)
    assert verdict["trace_id"] == TRACE
    assert headers(output.headers)["traceparent"].split("-")[1] == TRACE
    assert headers(output.headers)["ce_id"] == verdict["verdict_id"]
    assert finished.facts["trace.id"] == TRACE


async def test_a_deleted_post_publishes_a_null_for_its_key() -> None:
    line, judge = processing()
    finished = await line.finish(Arrived.of(record(None, b"gone")))
    assert (finished.outcome, finished.output.key, finished.output.value) == ("deleted", b"gone", None)
    assert not judge.seen


async def test_a_transient_error_is_tried_again_until_it_passes() -> None:
    before = retries("engine_busy")
    line, judge = processing(*[Transient("engine_busy", "busy")] * 10)
    finished = await line.finish(Arrived.of(record(POST)))
    assert finished.outcome == "verdict"
    assert len(judge.seen) == 11
    assert retries("engine_busy") - before == 10


async def test_an_engine_that_stays_away_is_a_hold_until_any_post_passes() -> None:
    judge = FakeJudge()
    away = asyncio.Event()

    async def before(post: Post) -> None:
        if post.post_id == "p1" and not away.is_set():
            raise Transient("engine_away", "away")

    judge.before = before
    line = Processing(SETTINGS, judge)
    waiting = asyncio.create_task(line.finish(Arrived.of(record(POST))))
    await eventually(lambda: line.held, "the engine holds")
    away.set()
    await waiting
    assert not line.held


async def test_a_bug_is_tried_three_times_and_then_a_dead_letter_and_nowhere_are_its_words() -> None:
    stamina.instrumentation.set_on_retry_hooks(())  # as the worker does
    line, judge = processing(*[ValueError(SECRET)] * 5)
    try:
        with capture_logs() as logged:
            finished = await line.finish(Arrived.of(record(POST)))
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert [(line["error"], line["tries"]) for line in logged] == [("ValueError", tries) for tries in (1, 2, 3)]
    assert "support.py" in logged[0]["stack"]
    assert SECRET not in str(logged)
    assert len(judge.seen) == BUG_TRIES
    letter = DeadLetter.from_headers(finished.output.headers)
    assert (letter.reason, letter.attempts, letter.exception_class_name) == ("internal_error", 3, "ValueError")
    assert SECRET not in str(finished.output.headers)


async def test_a_bug_that_goes_away_costs_nothing() -> None:
    line, _ = processing(ValueError("once"))
    assert (await line.finish(Arrived.of(record(POST)))).outcome == "verdict"


async def test_a_cancellation_inside_the_judge_does_not_leave_the_record_unfinished() -> None:
    line, _ = processing(*[asyncio.CancelledError()] * 3)
    finished = await line.finish(Arrived.of(record(POST)))
    assert (finished.outcome, finished.reason) == ("dead_letter", "internal_error")


async def test_a_record_can_be_abandoned_between_tries() -> None:
    line, judge = processing(*[Transient("engine_away", "away")] * 100_000)
    task = asyncio.create_task(line.finish(Arrived.of(record(POST))))
    await eventually(lambda: len(judge.seen) > 5, "some tries")
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert not line.held


async def test_poison_found_while_judging_is_a_dead_letter_of_that_stage() -> None:
    line, _ = processing(Poison("unreadable", "can't be read", stage="decode"))
    finished = await line.finish(Arrived.of(record(POST)))
    letter = DeadLetter.from_headers(finished.output.headers)
    assert (letter.reason, letter.stage, finished.output.value) == ("unreadable", "decode", POST)


async def test_a_fatal_error_is_handed_on() -> None:
    line, _ = processing(Fatal("the model is gone"))
    with pytest.raises(Fatal, match="the model is gone"):
        await line.finish(Arrived.of(record(POST)))


async def test_a_verdict_too_large_for_its_topic_is_a_dead_letter() -> None:
    line, _ = processing()
    metadata = {"padding": "x" * (record_limit(SETTINGS) - 100)}
    value = json.dumps({"post_id": "p1", "text": "hello", "metadata": metadata}).encode()
    finished = await line.finish(Arrived.of(record(value)))
    assert (finished.outcome, finished.reason) == ("dead_letter", "verdict_too_large")
    assert finished.output.size <= record_limit(SETTINGS)
    assert finished.facts["post_id"] == "p1"
