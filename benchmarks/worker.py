"""The whole worker in this process, by default with an engine that answers at once, and what is counted of it."""

import asyncio
import random
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr
from dataclasses import replace
from typing import IO, Any

from prometheus_client import Counter

from moderation_service.bench.generated_posts import text
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.contracts.post import Post
from moderation_service.engine.base import (
    Engine,
    EngineInfo,
    ExplainRequest,
    GeneratedText,
    LabelScore,
    ScoreRequest,
    ScoreResult,
)
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import Record
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import (
    BareSettings,
    KafkaSettings,
    LoggingSettings,
    OpsSettings,
    Settings,
    shipped_policies,
)
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker, tune_garbage_collector
from moderation_service.telemetry import logs, metrics
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server

_TEXT = 950  # characters: 1 KB with the fields' names
_LOOK_S = 0.02

FLAGGED = 0.1
"""The share of posts that violate their first policy."""

_YES, _NO = LabelScore(0.97, 0.99), LabelScore(0.01, 0.99)


class InstantEngine:
    """A FLAGGED share of posts, drawn by their words, violates the first policy asked; no other is violated."""

    info = EngineInfo(
        name="instant",
        revision="1",
        dtype="float32",
        quantization=None,
        engine="local",
        layout="post_first",
        prompt_digest="none",
        context_tokens=16384,
    )

    async def start(self) -> None:
        """Nothing is loaded."""

    async def prepare(self, questionnaire: Questionnaire) -> None:
        """Nothing is shared."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Answer without a look at the questions."""
        return [_scored(request) for request in requests]

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        """Say one sentence."""
        return [GeneratedText("It violates the policy.", "itself", tokens=1, generated_tokens=6) for _ in requests]

    async def close(self) -> None:
        """Nothing is held."""


def _scored(request: ScoreRequest) -> ScoreResult:
    flagged = zlib.crc32(request.text.encode()) < FLAGGED * 2**32
    labels = (_YES if flagged else _NO, *[_NO] * (len(request.asked) - 1))
    return replace(ScoreResult.unasked(request.images), labels=labels, tokens=len(request.text) // 4)


@asynccontextmanager
async def open_judge(settings: Settings, engine: Engine) -> AsyncIterator[Judge]:
    """Start the engine and judge with it; raw scores are taken as they are. Raises Fatal as the engine does."""
    pack = load_pack(shipped_policies(), images=False)
    await engine.start()
    try:
        async with (
            ImageLoader(settings.media) as loader,
            Batcher(engine, settings.engine) as batcher,
            Batcher(engine, settings.engine) as apart,
        ):
            judge = Judge(
                settings=settings,
                pack=pack,
                calibration=Calibration.load(None),
                loader=loader,
                engine=engine,
                batcher=batcher,
                shadow_batcher=apart,
            )
            await judge.prepare()
            yield judge
    finally:
        await engine.close()


def record_of(topic: str, number: int, rng: random.Random) -> Record:
    """A post of 1 KB."""
    post = Post(post_id=f"p-{number}", author_id=f"u-{number}", text=text(rng, _TEXT))
    return Record(topic, post.post_id.encode(), post.model_dump_json(exclude_defaults=True).encode())


async def worker_rate(kafka: KafkaSettings, posts: int) -> float:
    """Posts a second, from the first one taken to the last one published."""
    async with working(kafka) as worker:
        taken, wanted = count(metrics.RECEIVED), processed() + posts
        await until(lambda: count(metrics.RECEIVED) > taken or worker.done())
        begun = time.perf_counter()
        await until(lambda: processed() == wanted or worker.done())
        return posts / (time.perf_counter() - begun)


@asynccontextmanager
async def working(
    kafka: KafkaSettings,
    engine: Engine | None = None,
    /,
    **sections: Any,  # noqa: ANN401 - of the settings
) -> AsyncIterator["asyncio.Task[None]"]:
    """The whole worker, at work until the block is left; by default with an instant engine. Raises what ended it."""
    settings = BareSettings(kafka=kafka, ops=OpsSettings(host="127.0.0.1", port=0), **sections)
    health, stop = Health(started=True), asyncio.Event()
    async with open_judge(settings, engine or InstantEngine()) as judge, ops_server(settings.ops, health):
        tune_garbage_collector()  # as the service does
        worker = asyncio.create_task(Worker(kafka, RecordProcessor(kafka, judge), health).run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await worker


def processed() -> float:
    """Verdicts published by this process."""
    return count(metrics.PROCESSED.labels("verdict"))


async def until(reached: Callable[[], bool]) -> None:
    """Look until it is."""
    while not reached():  # noqa: ASYNC110 - a counter wakes nobody
        await asyncio.sleep(_LOOK_S)


def count(counter: Counter) -> float:
    """Count what was counted so far, over all labels."""
    return sum(
        sample.value for metric in counter.collect() for sample in metric.samples if sample.name.endswith("_total")
    )


@contextmanager
def logging_to_a_file() -> Iterator[IO[str]]:
    """Log as the service does in production, to a file that is gone at the end."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        with redirect_stderr(log):
            logs.configure(LoggingSettings(format="json"))
            yield log
        logs.configure(LoggingSettings(level="WARNING"))
