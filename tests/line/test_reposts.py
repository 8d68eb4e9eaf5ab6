"""Reposts through the worker on a real Kafka: few are judged, each has a verdict of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from moderation_service.contracts.verdict import Verdict
from moderation_service.engine.base import ScoreRequest, ScoreResult
from moderation_service.kafka.topics import create
from moderation_service.settings import JudgingSettings, KafkaSettings
from tests.judging.engines import RuleEngine, judge_by
from tests.line.service import kafka_settings
from tests.stream.support import Running, Seen, eventually, post_record, published, running, send

REPOSTS = 200
TEXTS = ("I will kill you", "hello museum")
PARTITIONS = 4


class HeldEngine(RuleEngine):
    """Answers once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.go = asyncio.Event()

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        self.begun += len(requests)
        await self.go.wait()
        return await super().score(requests)


@pytest.fixture
async def topics(kafka: str) -> KafkaSettings:
    settings = kafka_settings(kafka).model_copy(update={"drain_timeout_s": 1.0})
    await create(settings, partitions=PARTITIONS, replication=1)
    posts = (post_record(settings.input_topic, f"p-{n}", TEXTS[n % 2], author_id=f"u-{n}") for n in range(REPOSTS))
    await send(settings, posts)
    return settings


@asynccontextmanager
async def worker(settings: KafkaSettings, engine: RuleEngine) -> AsyncIterator[Running]:
    async with judge_by(engine, JudgingSettings()) as judge, running(settings, judge) as work:
        yield work


def verdicts_of(seen: Seen) -> list[Verdict]:
    """All that was published, one a post, each of its own author."""
    assert seen.judged == sorted(f"p-{n}" for n in range(REPOSTS))
    assert not seen.dead
    verdicts = [Verdict.model_validate_json(record.value) for record in seen.verdicts]
    assert len({verdict.verdict_id for verdict in verdicts}) == REPOSTS
    assert all(verdict.author_id == verdict.post_id.replace("p", "u") for verdict in verdicts)
    return verdicts


async def test_two_hundred_reposts_cost_two_judgements(topics: KafkaSettings) -> None:
    engine = RuleEngine()
    async with worker(topics, engine):
        verdicts = verdicts_of(await published(topics, REPOSTS))
    assert len(engine.requests) == len(TEXTS)
    firsts = {verdict.verdict_id: verdict for verdict in verdicts if verdict.duplicate_of is None}
    assert len(firsts) == len(TEXTS)
    for verdict in verdicts:
        first = firsts[verdict.duplicate_of or verdict.verdict_id]
        assert (verdict.decision, verdict.policies, verdict.content) == (first.decision, first.policies, first.content)
        assert verdict.statement_of_reasons is None or verdict.statement_of_reasons.puid == verdict.verdict_id


async def test_twins_of_a_post_whose_partition_is_taken_away_are_judged_all_the_same(topics: KafkaSettings) -> None:
    engines = HeldEngine(), HeldEngine()
    async with AsyncExitStack() as workers:
        for engine in engines:  # the second takes partitions from the first, whose posts wait for one another
            work = await workers.enter_async_context(worker(topics, engine))
            await eventually(lambda engine=engine: engine.begun > 0, "a post begun")  # type: ignore[misc]
        assert work.health.joined
        for engine in engines:
            engine.go.set()
        verdicts = verdicts_of(await published(topics, REPOSTS))
    assert sum(verdict.duplicate_of is None for verdict in verdicts) <= len(TEXTS) * len(engines)
