"""A deterministic judge, a worker in this process, and what a read_committed reader sees."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import ConsumerRecord, TopicPartition

from moderation_service.backoff import Backoff
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Content, Model, Service, Timings, Verdict
from moderation_service.contracts.verdict import verdict_id as named
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.judge import JudgeResult
from moderation_service.kafka import topics
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.media.loader import LoadedImages
from moderation_service.settings import KafkaSettings
from moderation_service.stream.delivery import Delivery
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.publisher import Publisher
from moderation_service.stream.resume_offset import ResumeOffset, ResumeOffsetFinder
from moderation_service.stream.worker import Worker
from moderation_service.telemetry.health import Health
from tests.timing import slowness

PATIENCE_S = 30.0
MODEL = Model(
    name="fake",
    revision="1",
    dtype="float32",
    quantization=None,
    engine="local",
    layout="post_first",
    prompt_digest="sha256:" + "0" * 64,
    calibration_id=None,
)
POLICIES = "sha256:" + "1" * 64


def verdict_of(post: Post, trace_id: str = "0" * 32) -> Verdict:
    """What the fake judge answers: always `allow`."""
    content = Content(text_sha256=None, language="en", truncated=False, images=())
    return Verdict(
        verdict_id=named(
            post_id=post.post_id,
            revision=post.revision,
            content=content,
            surface=post.surface,
            policy_set_digest=POLICIES,
            model=MODEL,
        ),
        post_id=post.post_id,
        post_revision=post.revision,
        author_id=post.author_id,
        surface=post.surface,
        metadata=post.metadata,
        decision="allow",
        abstain_reason=None,
        flags=(),
        duplicate_of=None,
        policies=(),
        shadow=(),
        explanation=None,
        content=content,
        model=MODEL,
        policy_set_digest=POLICIES,
        service=Service(version="0", instance="test"),
        trace_id=trace_id,
        timings_ms=Timings(queue=0, fetch=0, decode=0, score=0, attribution=0, explain=0, total=0),
        judged_at=datetime.now(UTC),
        statement_of_reasons=None,
    )


@dataclass
class FakeJudge:
    """Allows every post after `delay_s`; `load` and `before` may raise or wait. Counts how many it has at a time."""

    delay_s: float = 0.0
    before: Callable[[Post], Awaitable[None]] | None = None
    load: Callable[[Post], Awaitable[None]] | None = None
    seen: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    held: int = 0
    has_routes: bool = False
    now: int = 0
    most: int = 0
    bytes_now: int = 0
    most_bytes: int = 0

    @asynccontextmanager
    async def load_evidence(self, post: Post, fairness_key: Hashable) -> AsyncIterator[Evidence]:
        self.loaded.append(post.post_id)
        if self.load is not None:
            await self.load(post)
        self.held += 1
        try:
            yield Evidence(post.text, (), LoadedImages((), 0.0, 0.0))
        finally:
            self.held -= 1

    async def judge(self, post: Post, *, trace_id: str, queue_ms: float, evidence: Evidence) -> JudgeResult:
        assert queue_ms >= 0
        assert evidence.text == post.text
        assert self.held > 0
        self.seen.append(post.post_id)
        size = len(post.text)
        self.now += 1
        self.bytes_now += size
        self.most, self.most_bytes = max(self.most, self.now), max(self.most_bytes, self.bytes_now)
        try:
            await asyncio.sleep(self.delay_s)
            if self.before is not None:
                await self.before(post)
        finally:
            self.now -= 1
            self.bytes_now -= size
        return JudgeResult(verdict_of(post, trace_id), tokens=7)


def post_record(topic: str, post_id: str, text: str = "hello", **fields: object) -> Record:
    """A post as a platform sends it."""
    value = json.dumps({"post_id": post_id, "text": text, **fields}).encode()
    return Record(topic, post_id.encode(), value)


@dataclass
class Seen:
    """What a reader of committed records finds."""

    verdicts: list[ConsumerRecord]
    dead: list[ConsumerRecord]
    erased: list[bytes]  # keys whose dead letters are deleted

    def add(self, record: ConsumerRecord, settings: KafkaSettings) -> None:
        if record.topic == settings.output_topic:
            self.verdicts.append(record)
        elif record.value is None:
            self.erased.append(record.key)
        else:
            self.dead.append(record)

    @property
    def judged(self) -> list[str]:
        return sorted(record.key.decode() for record in self.verdicts if record.value is not None)

    @property
    def deleted(self) -> list[str]:
        return sorted(record.key.decode() for record in self.verdicts if record.value is None)

    @property
    def total(self) -> int:
        return len(self.verdicts) + len(self.dead)


async def everything(settings: KafkaSettings) -> Seen:
    """Read both output topics from their beginning to their end."""
    seen = Seen([], [], [])
    for topic in (settings.output_topic, settings.dead_letter_topic):
        async for record in read(settings, topic):
            seen.add(record, settings)
    return seen


async def eventually(
    check: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str, patience_s: float = PATIENCE_S
) -> None:
    """Wait until `check` holds; fail naming `what` when it does not in time."""
    deadline = time.monotonic() + patience_s * slowness()
    while True:
        found = check()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        await asyncio.sleep(0.05)


async def published(settings: KafkaSettings, count: int, patience_s: float = PATIENCE_S) -> Seen:
    """Follow both output topics until `count` records are on them together."""
    seen, deadline = Seen([], [], []), time.monotonic() + patience_s * slowness()
    async with TopicConsumer.open(settings, (settings.output_topic, settings.dead_letter_topic)) as reader:
        while seen.total < count:
            assert time.monotonic() < deadline, f"not within {patience_s} s: {count} records, but {seen.total}"
            for record in await reader.take(500, wait_s=0.2):
                seen.add(record, settings)
    return seen


def kafka_settings(address: str, name: str, **fields: object) -> KafkaSettings:
    """Settings with topics and a group of their own, quick to notice and to give up."""
    values: dict[str, object] = {
        "bootstrap_servers": address,
        "group": name,
        "input_topic": f"{name}.posts",
        "output_topic": f"{name}.verdicts",
        "dead_letter_topic": f"{name}.posts.dlq",
        "review_topic": f"{name}.reviews",
        "audit_topic": f"{name}.audit",
        "banks_topic": f"{name}.banks",
        "escalation_topic": f"{name}.escalations",
        "session_timeout_s": 6.0,
        "rebalance_timeout_s": 10.0,
        "request_timeout_s": 10.0,
        "transaction_timeout_s": 10.0,
        **fields,
    }
    return KafkaSettings.model_validate(values)


async def make_topics(settings: KafkaSettings, partitions: int = 3) -> None:
    await topics.create(settings, partitions)


async def send(settings: KafkaSettings, records: Iterable[Record]) -> int:
    return await publish(settings, records)


async def prepared(
    address: str, name: str, posts: int | Sequence[str] = 0, partitions: int = 3, **fields: object
) -> KafkaSettings:
    """Topics of a test's own, with posts on the input: these, or so many that are called p0, p1, and so on."""
    settings = kafka_settings(address, name, **fields)
    await make_topics(settings, partitions)
    names = [f"p{number}" for number in range(posts)] if isinstance(posts, int) else posts
    await send(settings, [post_record(settings.input_topic, each) for each in names])
    return settings


@dataclass
class Running:
    """A worker at work."""

    worker: Worker
    health: Health
    stop: asyncio.Event
    task: asyncio.Task[None]


@asynccontextmanager
async def running(settings: KafkaSettings, judge: FakeJudge, hold: LegalHold | None = None) -> AsyncIterator[Running]:
    """A worker for the block; it is told to stop at the end, and must have stopped in 10 seconds."""
    health, stop = Health(started=True), asyncio.Event()
    worker = Worker(settings, RecordProcessor(settings, judge, hold=hold), health)
    task = asyncio.create_task(worker.run(stop))
    try:
        yield Running(worker, health, stop, task)
    finally:
        stop.set()
        if not task.done():
            await asyncio.wait({task}, timeout=10)
            assert task.done(), "the worker did not stop in 10 s"
        if not task.cancelled() and task.exception() is None:
            await task


@dataclass
class Resumes:
    """Finds the offsets that `find` gives, one after the other."""

    next_one: Callable[[], ResumeOffset]

    async def find(self, *, opening: bool) -> ResumeOffset:
        del opening
        return self.next_one()


def processor_of(
    settings: KafkaSettings,
    publisher: Publisher,
    finder: ResumeOffsetFinder | Resumes,
    partition: TopicPartition = TopicPartition("posts", 0),  # noqa: B008 - immutable
    first_s: float = 0.001,
) -> PartitionProcessor:
    """A processor that soon tries again what failed."""
    delivery = Delivery(partition, settings, publisher, finder, Backoff(first_s, 10 * first_s))  # type: ignore[arg-type]
    return PartitionProcessor(partition, settings, delivery)


async def serve(processor: PartitionProcessor, settled: list[int] | None = None) -> None:
    """Open it and publish until it ends, as the manager does."""
    try:
        await processor.open()
        while (release := await processor.publish_next()) is not None:
            if settled is not None:
                settled.extend(release.offsets)
    finally:
        await processor.close()


@asynccontextmanager
async def open_processor(processor: PartitionProcessor) -> AsyncIterator[PartitionProcessor]:
    """Let it run until the block is left; it is open at once."""
    task = asyncio.create_task(serve(processor))
    try:
        await eventually(lambda: processor.is_open, "the processor is open")
        yield processor
    finally:
        task.cancel()
        await asyncio.wait({task})
