"""Routed and escalated posts in the worker: the legal hold first, then verdict and escalation in one transaction."""

import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from moderation_service.backoff import Backoff
from moderation_service.child_safety.legal_hold import HeldCase, LegalHold
from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.dead_letter import DeadLetter, DeadLetterReference
from moderation_service.contracts.escalation import Escalation
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Poison
from moderation_service.judging.judge import JudgeResult
from moderation_service.kafka.topic_io import read
from moderation_service.settings import ChildSafetySettings, KafkaSettings
from moderation_service.stream.processing_result import ReceivedRecord
from moderation_service.stream.processor import RecordProcessor
from tests.contracts.examples import DIGEST
from tests.stream.records import record
from tests.stream.support import FakeJudge, eventually, everything, make_topics, post_record, published, running, send
from tests.stream.support import kafka_settings as stream_settings

QUICK, SETTINGS = Backoff(0.001, 0.001), KafkaSettings()
WORDS = "the words of the post"
POST = json.dumps({"post_id": "p1", "text": WORDS, "metadata": {"free": WORDS}}).encode()
MATCH = BankMatch(
    bank="known", kind="terms", entry="e1", action="block", policy=None, severity=5, route="child_safety", digest=DIGEST
)
ESCALATED = BankMatch.model_validate({**MATCH.model_dump(), "action": "escalate", "route": None})


class Routing(FakeJudge):
    """As the judge does with a post whose words a bank with a route knows."""

    matches: Sequence[BankMatch] = (MATCH,)

    async def judge(self, post: Post, **given: Any) -> JudgeResult:
        judged = await super().judge(post, **given)
        changes = {"matches": tuple(self.matches), "route": self.matches[0].route, "metadata": {}, "decision": "block"}
        return replace(judged, verdict=judged.verdict.model_copy(update=changes))


class Failing(LegalHold):
    """Fails some times, as a full disk does; once it has written, it waits for `go_on`."""

    times = 0
    go_on = threading.Event()

    def put(self, *args: Any, **kwargs: Any) -> HeldCase:
        if self.times:
            self.times -= 1
            raise OSError(28, "No space left on device")
        case = super().put(*args, **kwargs)
        self.go_on.wait(20)
        return case


@pytest.fixture
def hold(tmp_path: Path) -> Failing:
    key = base64.b64encode(b"k" * 32).decode()
    (tmp_path / "hold").mkdir()
    made = Failing(ChildSafetySettings.model_validate({"hold_path": tmp_path / "hold", "hold_key": key}))
    made.go_on.set()
    return made


def writes(outcome: str) -> float:
    return REGISTRY.get_sample_value("moderation_legal_holds_total", {"outcome": outcome}) or 0.0


async def test_a_routed_post_is_held_as_it_came_and_told_in_ids(hold: Failing) -> None:
    line = RecordProcessor(SETTINGS, Routing(), QUICK, hold=hold)
    finished = await line.process(ReceivedRecord.of(record(POST, b"p1", (("tenant", b"t-1"),))))
    verdict, escalation = finished.outputs
    assert (verdict.topic, escalation.topic) == (SETTINGS.output_topic, SETTINGS.escalation_topic)
    assert WORDS.encode() not in (verdict.value or b"") + (escalation.value or b"")
    told = Escalation.model_validate_json(escalation.value or b"")
    judged = Verdict.model_validate_json(verdict.value or b"")
    assert told.case_id == told.verdict_id == judged.verdict_id
    assert (told.post_id, told.route, told.action, told.decision) == ("p1", "child_safety", "block", "block")
    assert [match.entry for match in told.matches] == ["e1"]
    assert dict(escalation.headers)["ce_type"] == b"moderation.escalation.v1"
    assert escalation.key == b"p1"
    parts = hold.read(judged.verdict_id)
    assert parts["post.json"] == POST
    assert json.loads(parts["origin.json"])["headers"] == [["tenant", base64.b64encode(b"t-1").decode()]]
    assert Verdict.model_validate_json(parts["verdict.json"]).verdict_id == judged.verdict_id
    assert WORDS not in str(finished.facts)


async def test_an_escalation_without_a_route_is_told_and_not_held(hold: Failing) -> None:
    judge = Routing()
    judge.matches = (ESCALATED,)
    finished = await RecordProcessor(SETTINGS, judge, QUICK, hold=hold).process(ReceivedRecord.of(record(POST)))
    told = Escalation.model_validate_json(finished.outputs[1].value or b"")
    assert (told.route, told.action, told.case_id) == (None, "escalate", None)
    assert list(hold.cases()) == []


async def test_other_posts_are_neither_held_nor_escalated(hold: Failing) -> None:
    finished = await RecordProcessor(SETTINGS, FakeJudge(), QUICK, hold=hold).process(ReceivedRecord.of(record(POST)))
    assert [output.topic for output in finished.outputs] == [SETTINGS.output_topic]
    assert list(hold.cases()) == []


async def test_a_hold_that_fails_is_tried_again_and_the_post_is_judged_once(hold: Failing) -> None:
    hold.times, before, judge = 2, (writes("failed"), writes("held")), Routing()
    finished = await RecordProcessor(SETTINGS, judge, QUICK, hold=hold).process(ReceivedRecord.of(record(POST)))
    assert finished.outcome == "verdict"
    assert (writes("failed") - before[0], writes("held") - before[1]) == (2, 1)
    assert judge.seen == ["p1"]


async def test_without_a_hold_a_routed_post_waits_and_is_not_lost(hold: Failing) -> None:
    line = RecordProcessor(SETTINGS, Routing(), QUICK)  # a bank that came after the start may have a route
    processing = asyncio.create_task(line.process(ReceivedRecord.of(record(POST))))
    await eventually(lambda: line.blocked_by == {"legal hold"}, "it was tried several times")
    assert not processing.done()
    line.hold = hold
    assert (await processing).outcome == "verdict"


async def test_a_post_is_held_while_all_threads_that_decode_are_taken(hold: Failing) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    free = threading.Event()
    taken = asyncio.create_task(asyncio.to_thread(free.wait, 20))
    async with asyncio.timeout(10):
        result = await RecordProcessor(SETTINGS, Routing(), QUICK, hold=hold).process(ReceivedRecord.of(record(POST)))
    free.set()
    assert (result.outcome, await taken) == ("verdict", True)


async def test_two_revisions_are_two_cases(hold: Failing) -> None:
    line = RecordProcessor(SETTINGS, Routing(), QUICK, hold=hold)
    for revision in (1, 2, 2):
        value = json.dumps({"post_id": "p1", "text": WORDS, "revision": revision}).encode()
        await line.process(ReceivedRecord.of(record(value)))
    assert sorted(case.revision for case in hold.cases()) == [1, 2]


async def test_a_verdict_that_is_too_large_leaves_a_dead_letter_that_only_refers_to_the_post(hold: Failing) -> None:
    judge = Routing()
    judge.matches = [MATCH] * 40_000
    line = RecordProcessor(KafkaSettings(max_message_bytes=2**20), judge, QUICK, hold=hold)
    finished = await line.process(ReceivedRecord.of(record(POST, b"p1", (("note", WORDS.encode()),))))
    (letter,) = finished.outputs
    assert (finished.outcome, finished.reason, letter.key) == ("dead_letter", "verdict_too_large", None)
    assert DeadLetterReference.model_validate_json(letter.value or b"").head == b""
    assert DeadLetter.from_headers(letter.headers).by_reference
    assert WORDS not in str(letter)
    assert base64.b64encode(WORDS.encode()).decode() not in str(letter)


@pytest.mark.parametrize(
    "fault", [RuntimeError(WORDS), Poison("engine", "can't be scored", stage="judge")], ids=["bug", "poison"]
)
async def test_a_post_that_may_have_a_route_and_can_not_be_judged_leaves_a_dead_letter_that_only_refers_to_it(
    fault: Exception,
) -> None:
    async def fail(_: Post) -> None:
        raise fault

    line = RecordProcessor(SETTINGS, FakeJudge(before=fail, has_routes=True), QUICK)
    finished = await line.process(ReceivedRecord.of(record(POST, b"p1", (("note", WORDS.encode()),))))
    (letter,) = finished.outputs
    assert (finished.outcome, letter.key, DeadLetter.from_headers(letter.headers).by_reference) == (
        "dead_letter",
        None,
        True,
    )
    assert WORDS not in str(letter)
    assert base64.b64encode(WORDS.encode()).decode() not in str(letter)
    assert not finished.use_fallback()


async def test_on_kafka_a_post_waits_for_its_hold_and_a_case_of_a_killed_worker_is_not_doubled(
    kafka: str, unique: str, hold: Failing, tmp_path: Path
) -> None:
    settings = stream_settings(kafka, unique)
    await make_topics(settings, 1)
    await send(settings, [post_record(settings.input_topic, each) for each in ("p0", "p1")])
    away = tmp_path / "away"
    (tmp_path / "hold").rename(away)
    hold.go_on.clear()
    async with running(settings, Routing(), hold) as first:
        await eventually(lambda: first.health.not_ready == ["legal hold"], "the hold is away")
        assert (await everything(settings)).total == 0
        away.rename(tmp_path / "hold")
        await eventually(lambda: len(list(hold.cases())) == 2, "both are held")
        first.task.cancel()  # as one that is killed between the hold and the publication
    assert (await everything(settings)).total == 0
    hold.go_on.set()
    async with running(settings, Routing(), hold):
        seen = await published(settings, 2)
    assert (seen.judged, seen.dead) == (["p0", "p1"], [])
    told = [Escalation.model_validate_json(each.value) async for each in read(settings, settings.escalation_topic)]
    assert sorted(each.case_id for each in told) == sorted(case.case_id for case in hold.cases())
