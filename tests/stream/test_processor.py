import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.backoff import Backoff
from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.contracts.dead_letter import DeadLetter
from moderation_service.contracts.envelope import Headers
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Poison, Transient
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.judge import JudgeResult
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import ReceivedRecord
from moderation_service.stream.processor import BUG_TRIES, OFF_LOOP_BYTES, KeyCheck, RecordProcessor
from tests.stream.records import record
from tests.stream.support import FakeJudge, eventually

SETTINGS = KafkaSettings(max_message_bytes=64 * 1024)
POST = b'{"post_id": "p1", "text": "hello"}'
SECRET = "the words of the post"
QUICK = Backoff(0.001, 0.005)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Failing:
    """Raises `errors` one after the other, then passes."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    async def __call__(self, _: Post) -> None:
        if self.errors:
            raise self.errors.pop(0)


def processing(*errors: BaseException) -> tuple[RecordProcessor, FakeJudge]:
    judge = FakeJudge(before=Failing(*errors))
    return RecordProcessor(SETTINGS, judge, QUICK), judge


def headers(found: Headers) -> dict[str, str]:
    return {name: value.decode() for name, value in found}


def retries(reason: str) -> float:
    return REGISTRY.get_sample_value("moderation_retries_total", {"reason": reason}) or 0.0


async def test_a_post_becomes_its_verdict_in_the_producers_trace() -> None:
    line, _ = processing()
    traced = record(POST, headers=(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()),))
    finished = await line.process(ReceivedRecord.of(traced))
    output = finished.outputs[0]
    assert (finished.outcome, output.topic, output.key) == ("verdict", SETTINGS.output_topic, b"p1")
    assert output.value is not None
    verdict = json.loads(output.value)
    assert verdict["trace_id"] == TRACE
    assert headers(output.headers)["traceparent"].split("-")[1] == TRACE
    assert headers(output.headers)["ce_id"] == verdict["verdict_id"]
    assert finished.facts["trace.id"] == TRACE


async def test_the_log_names_the_banks_that_a_post_matches_and_nothing_of_its_words() -> None:
    matcher = BankMatcher()
    matcher.put_bank(Bank(name="spam", action="block"), [BankEntry(kind="terms", value="hello", id="e1")])

    class Matching(FakeJudge):
        async def judge(self, post: Post, **given: Any) -> JudgeResult:
            judged = await super().judge(post, **given)
            matches = matcher.match_text(post.text).enforced
            return replace(judged, verdict=judged.verdict.model_copy(update={"matches": matches}))

    finished = await RecordProcessor(SETTINGS, Matching(), QUICK).process(ReceivedRecord.of(record(POST)))
    assert finished.facts["banks"] == ["spam"]
    assert "hello" not in str(finished.facts)


async def test_headers_that_are_to_be_forwarded_are_on_verdicts_nulls_and_dead_letters() -> None:
    settings = SETTINGS.model_copy(update={"forward_headers": frozenset({"tenant", "correlation-id"})})
    line = RecordProcessor(settings, FakeJudge(), QUICK)
    given = (("tenant", b"t-1"), ("secret", b"s"), ("correlation-id", b"c"), ("tenant", b"t-2"))
    expected = [("tenant", b"t-1"), ("correlation-id", b"c"), ("tenant", b"t-2")]
    for value in (POST, None, b"no JSON"):
        finished = await line.process(ReceivedRecord.of(record(value, b"p1", given)))
        for output in finished.outputs:
            found = [header for header in output.headers if header[0] in settings.forward_headers]
            assert found == expected, finished.outcome
    verdict = (await line.process(ReceivedRecord.of(record(POST, b"p1", given)))).outputs[0]
    assert "secret" not in dict(verdict.headers)


async def test_a_deleted_post_publishes_a_null_for_its_key() -> None:
    line, judge = processing()
    finished = await line.process(ReceivedRecord.of(record(None, b"gone")))
    assert (finished.outcome, finished.outputs[0].key, finished.outputs[0].value) == ("deleted", b"gone", None)
    assert not judge.seen


async def test_a_deletion_by_a_framed_key_erases_the_verdicts_of_its_post_and_the_letters_of_its_key() -> None:
    line, _ = processing()
    framed = b'\0\0\0\0\x11"gone"'
    finished = await line.process(ReceivedRecord.of(record(None, framed)))
    verdicts, letters = finished.outputs
    assert (verdicts.topic, verdicts.key, verdicts.value) == (SETTINGS.output_topic, b"gone", None)
    assert (letters.topic, letters.key, letters.value) == (SETTINGS.dead_letter_topic, framed, None)


async def test_a_post_with_another_key_is_judged_and_counted() -> None:
    line, judge = processing()
    before = mismatched("other"), mismatched("absent")
    for key in (b"p1", b'\0\0\0\0\x11"p1"', b"author-9", None):
        finished = await line.process(ReceivedRecord.of(record(POST, key)))
        assert (finished.outcome, finished.outputs[0].key) == ("verdict", b"p1")
    assert len(judge.seen) == 4
    assert (mismatched("other"), mismatched("absent")) == (before[0] + 1, before[1] + 1)


def mismatched(key: str) -> float:
    return REGISTRY.get_sample_value("moderation_mismatched_keys_total", {"key": key}) or 0.0


def test_other_keys_are_logged_once_a_minute_with_their_number() -> None:
    now = 0.0
    keys = KeyCheck(clock=lambda: now)
    with capture_logs() as logs:
        for second in range(70):
            now = float(second)
            keys.check(b"author-9", "p1")
    assert [line["posts"] for line in logs] == [1, 60]


async def test_an_engine_that_fails_three_times_loads_the_evidence_once() -> None:
    line, judge = processing(*[Transient("engine_away", "away")] * 3)
    finished = await line.process(ReceivedRecord.of(record(POST)))
    assert finished.outcome == "verdict"
    assert (len(judge.loaded), len(judge.seen)) == (1, 4)
    assert judge.held == 0


async def test_a_post_that_is_tried_again_stays_with_the_judge_it_began_with_and_the_next_has_the_new_one() -> None:
    second = FakeJudge()

    async def fails_while_another_takes_over(_: Post) -> None:
        line.judge = second
        if len(first.seen) < 3:
            raise Transient("engine_away", "away")

    first = FakeJudge(before=fails_while_another_takes_over)
    line = RecordProcessor(SETTINGS, first, QUICK)
    assert (await line.process(ReceivedRecord.of(record(POST)))).outcome == "verdict"
    assert (len(first.seen), second.loaded, second.seen) == (3, [], [])
    await line.process(ReceivedRecord.of(record(POST)))
    assert (len(first.seen), second.seen) == (3, ["p1"])


async def test_evidence_that_could_not_be_loaded_is_loaded_again() -> None:
    judge = FakeJudge(load=Failing(ValueError("once")))
    finished = await RecordProcessor(SETTINGS, judge, QUICK).process(ReceivedRecord.of(record(POST)))
    assert finished.outcome == "verdict"
    assert (len(judge.loaded), len(judge.seen)) == (2, 1)


async def test_a_bug_in_loading_evidence_is_a_dead_letter_after_three_tries() -> None:
    judge = FakeJudge(load=Failing(*[ValueError(SECRET)] * 5))
    finished = await RecordProcessor(SETTINGS, judge, QUICK).process(ReceivedRecord.of(record(POST)))
    assert (finished.outcome, finished.reason) == ("dead_letter", "internal_error")
    assert (len(judge.loaded), len(judge.seen)) == (BUG_TRIES, 0)


async def test_the_queue_is_the_time_before_judging_began_whatever_comes_then() -> None:
    queued: list[float] = []

    class Noting(FakeJudge):
        async def judge(self, post: Post, *, trace_id: str, queue_ms: float, evidence: Evidence) -> JudgeResult:
            queued.append(queue_ms)
            return await super().judge(post, trace_id=trace_id, queue_ms=queue_ms, evidence=evidence)

    async def slowly(_: Post) -> None:
        await asyncio.sleep(0.2)

    judge = Noting(load=slowly, before=Failing(*[Transient("engine_away", "away")] * 2))
    await RecordProcessor(SETTINGS, judge, QUICK).process(ReceivedRecord.of(record(POST)))
    assert len(queued) == 3
    assert len(set(queued)) == 1
    assert queued[0] < 200


async def test_an_engine_that_hangs_is_a_hold_until_a_post_is_finished() -> None:
    answers = asyncio.Event()

    async def hang(_: Post) -> None:
        await answers.wait()

    line = RecordProcessor(SETTINGS, FakeJudge(before=hang), hung_after_s=0.1)
    await asyncio.sleep(0.15)
    assert not line.blocked_by, "nothing is in work"
    hung = asyncio.create_task(line.process(ReceivedRecord.of(record(POST))))
    await asyncio.sleep(0)
    assert not line.blocked_by, "it has only begun"
    await eventually(lambda: line.blocked_by == {"engine"}, "the engine holds")
    answers.set()
    await hung
    assert not line.blocked_by


async def test_a_post_that_hangs_beside_others_that_finish_is_no_hold() -> None:

    async def hang(post: Post) -> None:
        await asyncio.sleep(3600 if post.post_id == "hung" else 0.05)

    line = RecordProcessor(SETTINGS, FakeJudge(before=hang), hung_after_s=0.2)
    hung = asyncio.create_task(line.process(ReceivedRecord.of(record(b'{"post_id": "hung", "text": "x"}'))))
    for _ in range(8):
        await line.process(ReceivedRecord.of(record(POST)))
        assert not line.blocked_by
    hung.cancel()
    await asyncio.wait({hung})


@pytest.mark.parametrize(
    ("value", "key", "named"),
    [
        (b'{"post_id": "p1"}', b"k", {"post_id": "p1"}),
        (b'{"post_id": "p1", "text": "cut', b"k", {"post_id": "p1"}),
        (b'{"post_id": "%s", "text": 1}' % (b"x" * 1000), b"k", {"post_id": "x" * 128}),
        (b'{"post_id": 17}', b"k", {"key": "k"}),
        (b"\x00", b"k\xff", {"key": "k\\xff"}),
        (b"[]", b"k" * 1000, {"key": "k" * 128}),
        (b"", None, {}),
        (None, b"gone", {"key": "gone"}),
        (b'{"post_id": "p1", "text": "' + b"x" * OFF_LOOP_BYTES, b"k", {"post_id": "p1"}),
        (b'{"a":' * 50_000, b"k", {"key": "k"}),
    ],
    ids=["schema", "cut", "long", "no id", "not json", "long key", "nothing", "deleted", "large", "deep"],
)
async def test_the_log_names_a_record_without_a_verdict(
    value: bytes | None, key: bytes | None, named: dict[str, str]
) -> None:
    line, _ = processing()
    facts = dict((await line.process(ReceivedRecord.of(record(value, key)))).facts)
    assert len(str(facts.pop("trace.id"))) == 32
    assert facts == {**named, "topic": "moderation.posts", "partition": 3, "offset": 41}


async def test_the_log_names_the_event_that_carried_the_record() -> None:
    event = (("ce_specversion", b"1.0"), ("ce_id", b"e" * 200), ("ce_source", b"/shop"), ("ce_type", b"post.made"))
    line, _ = processing()
    for value in (POST, b"\x00", None):
        finished = await line.process(ReceivedRecord.of(record(value, headers=event)))
        assert finished.facts["ce_id"] == "e" * 128


async def test_an_event_that_is_none_is_a_dead_letter() -> None:
    line, judge = processing()
    finished = await line.process(ReceivedRecord.of(record(POST, headers=(("ce_specversion", b"0.3"),))))
    assert (finished.outcome, finished.reason) == ("dead_letter", "wrong_envelope")
    assert finished.facts["post_id"] == "p1"
    assert not judge.seen


async def test_a_transient_error_is_tried_again_until_it_passes() -> None:
    before = retries("engine_busy")
    line, judge = processing(*[Transient("engine_busy", "busy")] * 10)
    finished = await line.process(ReceivedRecord.of(record(POST)))
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
    line = RecordProcessor(SETTINGS, judge, QUICK)
    waiting = asyncio.create_task(line.process(ReceivedRecord.of(record(POST))))
    await eventually(lambda: line.blocked_by == {"engine"}, "the engine holds")
    away.set()
    await waiting
    assert not line.blocked_by


async def test_a_bug_is_tried_three_times_and_then_a_dead_letter_and_nowhere_are_its_words() -> None:
    line, judge = processing(*[ValueError(SECRET)] * 5)
    with capture_logs() as logged:
        finished = await line.process(ReceivedRecord.of(record(POST, b"p1")))
    assert [(line["error"], line["tries"]) for line in logged] == [("ValueError", tries) for tries in (1, 2, 3)]
    assert "support.py" in logged[0]["stack"]
    assert len({line["trace.id"] for line in logged}) == 1
    assert SECRET not in str(logged)
    assert len(judge.seen) == BUG_TRIES
    letter = DeadLetter.from_headers(finished.outputs[0].headers)
    assert (letter.reason, letter.attempts, letter.exception_class_name) == ("internal_error", 3, "ValueError")
    assert SECRET not in str(finished.outputs[0].headers)


async def test_a_bug_that_goes_away_costs_nothing() -> None:
    line, _ = processing(ValueError("once"))
    assert (await line.process(ReceivedRecord.of(record(POST)))).outcome == "verdict"


async def test_a_cancellation_inside_the_judge_does_not_leave_the_record_unfinished() -> None:
    line, _ = processing(*[asyncio.CancelledError()] * 3)
    finished = await line.process(ReceivedRecord.of(record(POST)))
    assert (finished.outcome, finished.reason) == ("dead_letter", "internal_error")


async def test_a_record_can_be_abandoned_between_tries() -> None:
    line, judge = processing(*[Transient("engine_away", "away")] * 100_000)
    task = asyncio.create_task(line.process(ReceivedRecord.of(record(POST))))
    await eventually(lambda: len(judge.seen) > 5, "some tries")
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    assert not line.blocked_by


async def test_poison_found_while_judging_is_a_dead_letter_of_that_stage() -> None:
    line, _ = processing(Poison("unreadable", "can't be read", stage="decode"))
    finished = await line.process(ReceivedRecord.of(record(POST)))
    letter = DeadLetter.from_headers(finished.outputs[0].headers)
    assert (letter.reason, letter.stage, finished.outputs[0].value) == ("unreadable", "decode", POST)


async def test_a_fatal_error_is_handed_on() -> None:
    line, _ = processing(Fatal("the model is gone"))
    with pytest.raises(Fatal, match="the model is gone"):
        await line.process(ReceivedRecord.of(record(POST)))


class Verbose(FakeJudge):
    """Whose verdicts are larger than a record may be."""

    async def judge(self, post: Post, *, trace_id: str, queue_ms: float, evidence: Evidence) -> JudgeResult:
        judged = await super().judge(post, trace_id=trace_id, queue_ms=queue_ms, evidence=evidence)
        metadata = {"padding": "x" * record_limit(SETTINGS)}
        return JudgeResult(judged.verdict.model_copy(update={"metadata": metadata}), judged.tokens)


async def test_a_verdict_too_large_for_its_topic_is_a_dead_letter() -> None:
    finished = await RecordProcessor(SETTINGS, Verbose(), QUICK).process(ReceivedRecord.of(record(POST, b"p1")))
    assert (finished.outcome, finished.reason) == ("dead_letter", "verdict_too_large")
    assert finished.outputs[0].size <= record_limit(SETTINGS)
    assert finished.facts["post_id"] == "p1"
