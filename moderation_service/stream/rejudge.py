"""Judging past posts again: the worker's own line over a plan, in a group of its own, behind live posts."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Literal

import structlog
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from moderation_service.backoff import Backoff
from moderation_service.contracts.enums import Trigger
from moderation_service.contracts.envelope import Trace
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Misconfigured, Transient
from moderation_service.judging.judge import JudgeResult
from moderation_service.kafka.clients import consumer
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import span_since
from moderation_service.settings import KafkaSettings
from moderation_service.stream.processing_result import ProcessingResult, ReceivedRecord
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.rejudge_plan import RejudgePlan, is_changed, said_of

Publish = Literal["none", "changed", "all"]
_LOOK_S = 1.0
_BACKOFF = Backoff(first_s=1.0, longest_s=30.0)

log = structlog.get_logger(__name__)


@dataclass
class Pace:
    """Rate limiter, in posts a second, that also waits while live posts do; without a `rate` for these alone."""

    rate: float | None = None
    is_free: asyncio.Event = field(default_factory=asyncio.Event)
    is_current: asyncio.Event = field(default_factory=asyncio.Event)  # what overtook the plan is out of it
    _next: float = 0.0

    async def wait(self) -> None:
        """Until the next post may begin."""
        await self.is_current.wait()
        await self.is_free.wait()
        if self.rate is not None:
            now = asyncio.get_running_loop().time()
            self._next = max(self._next, now) + 1 / self.rate
            await asyncio.sleep(self._next - 1 / self.rate - now)


@dataclass(slots=True, kw_only=True)
class RejudgeProcessor(RecordProcessor):
    """Judges the records of a plan, and passes over the others. Its dead letters stay in the plan."""

    plan: RejudgePlan
    pace: Pace
    publish: Publish

    async def process(self, received: ReceivedRecord) -> ProcessingResult:
        """As the worker does, for what the plan has; nothing is published of the rest. Raises Fatal alone."""
        if self.plan.old_of(received.record):
            await self.pace.wait()
        found = self.plan.old_of(received.record)  # once more: a newer revision, or a deletion, may have come meanwhile
        if found is None:
            return ProcessingResult(received, "passed_over", (), iter(()))
        result = await RecordProcessor.process(self, received)
        if result.outcome != "verdict":
            self.plan.fail(found[0], result.reason or result.outcome)
            result.outputs, result.fallbacks = (), iter(())
        return result

    def _verdict(self, received: ReceivedRecord, post: Post, judged: JudgeResult, trace: Trace) -> ProcessingResult:
        verdict = judged.verdict.model_copy(update={"trigger": Trigger.REJUDGE})
        result = RecordProcessor._verdict(self, received, post, replace(judged, verdict=verdict), trace)  # noqa: SLF001
        found, new = self.plan.old_of(received.record), said_of(verdict)
        is_due = self.publish == "all" or (self.publish == "changed" and found and is_changed(found[1], new))
        if not is_due:
            result.outputs, result.fallbacks = (), iter(())
        self.plan.finish(post, verdict, judged.tokens)
        return result


@asynccontextmanager
async def beside_live_posts(
    live: KafkaSettings, own: KafkaSettings, plan: RejudgePlan, pace: Pace, most_lag: int
) -> AsyncIterator[asyncio.Event]:
    """Watch the live group's lag, what overtakes the plan, and whether the `own` group has committed all of it.

    Then the event that is given is set.
    """
    done = asyncio.Event()
    watches = (
        partial(_yield_to_live_posts, live, pace, most_lag),
        partial(_follow, live, plan, pace),
        partial(_notice_the_end, own, plan, done),
    )
    tasks = [asyncio.create_task(_for_ever(watch)) for watch in watches]
    try:
        yield done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def make_plan(
    kafka: KafkaSettings, plan: RejudgePlan, since: datetime, decision: str | None, named: Mapping[str, str | None]
) -> None:
    """Fill a new plan from the log between `since` and now, or check that the complete one is as `named`.

    Raises Misconfigured where it is not.
    """
    settings = {**named, "topics": " ".join(kafka.input_topics)}
    if plan.is_complete:
        theirs = json.loads(plan.settings)
        if differing := [name for name in theirs if theirs[name] != settings.get(name)]:
            msg = f"{plan.path}: is of a rejudge with other {', '.join(differing)}; name another folder with -o"
            raise Misconfigured(msg)
        return
    posts, verdicts = kafka.input_topics, (kafka.output_topic,)
    begins, ends = await span_since(kafka, posts, since)
    plan.begin(begins, ends)
    async with TopicConsumer.open(kafka, posts, begins) as reader:
        async for batch in reader.batches(until=ends):
            await asyncio.to_thread(plan.add_posts, batch.records)
    begins, ends = await span_since(kafka, verdicts, since)
    async with TopicConsumer.open(kafka, verdicts, begins) as reader:
        async for batch in reader.batches(until=ends):
            await asyncio.to_thread(plan.add_verdicts, batch.records)
    plan.complete(json.dumps(settings), decision)


def group_of(kafka: KafkaSettings, plan: RejudgePlan) -> str:
    """The plan's own consumer group."""
    told = json.dumps([plan.settings, sorted(plan.begins.items()), sorted(plan.finishes.items())])
    return f"{kafka.group}.rejudge.{hashlib.sha256(told.encode()).hexdigest()[:12]}"


async def begin_at(settings: KafkaSettings, plan: RejudgePlan) -> None:
    """Commit where each partition begins, unless the group has offsets already: then go on behind these."""
    begins = {TopicPartition(*at): offset for at, offset in plan.begins.items()}
    reader = consumer(settings, group=settings.group, reset="earliest")
    await reader.start()
    try:
        committed = {at: await reader.committed(at) for at in begins}
        if not any(offset is not None for offset in committed.values()):
            reader.assign(list(begins))
            await reader.commit({at: OffsetAndMetadata(offset, "") for at, offset in begins.items()})
        plan.forget({(at.topic, at.partition): offset or begins[at] for at, offset in committed.items()})
    finally:
        await reader.stop()


async def _for_ever(watch: Callable[[], Awaitable[None]]) -> None:
    failures = 0
    while True:
        try:
            await watch()
        except (Transient, Fatal) as error:
            failures += 1
            log.warning("what goes on beside the rejudge can't be seen; it is tried again", error=str(error))
            await _BACKOFF.wait(failures)


async def _yield_to_live_posts(live: KafkaSettings, pace: Pace, most_lag: int) -> None:
    """No post begins while the live group is behind by more."""
    async with TopicConsumer.open(live, live.input_topics, group=live.group) as looker:
        while True:
            ends = await looker.ends()
            committed = await looker.committed()
            lag = sum(max(0, end - committed.get(at, end)) for at, end in ends.items())
            if lag <= most_lag:
                pace.is_free.set()
            elif pace.is_free.is_set():
                log.info("waiting for live posts", lag=lag)
                pace.is_free.clear()
            await asyncio.sleep(_LOOK_S)


async def _follow(live: KafkaSettings, plan: RejudgePlan, pace: Pace) -> None:
    """Take out of the plan what was overtaken since it was made, and then what is while it runs."""
    async with TopicConsumer.open(live, live.input_topics, plan.finishes) as reader:
        async for batch in reader.batches(until=await reader.ends()):
            for record in batch.records:
                plan.overtake(record)
        pace.is_current.set()
        async for batch in reader.batches():
            for record in batch.records:
                plan.overtake(record)


async def _notice_the_end(own: KafkaSettings, plan: RejudgePlan, done: asyncio.Event) -> None:
    async with TopicConsumer.open(own, own.input_topics, group=own.group) as looker:
        ends = plan.ends
        while True:
            committed = await looker.committed()
            if all(committed.get(at, -1) >= end for at, end in ends.items()):
                done.set()
            await asyncio.sleep(_LOOK_S)
