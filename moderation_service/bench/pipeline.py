"""`moderation bench pipeline`: the whole worker on a real Kafka, against the least that such a loop can be."""

import asyncio
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, redirect_stderr
from typing import IO, Any

from prometheus_client import Counter

from moderation_service.bench.bare import bare_loop
from moderation_service.bench.broker import local_kafka
from moderation_service.bench.instant import InstantEngine
from moderation_service.bench.judging import open_judge
from moderation_service.bench.posts import text
from moderation_service.contracts.post import Post
from moderation_service.engine.base import Engine
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.settings import BareSettings, KafkaSettings, LoggingSettings, OpsSettings
from moderation_service.stream.worker import Worker, tune_garbage_collector
from moderation_service.telemetry import logs, metrics
from moderation_service.telemetry.health import Health
from moderation_service.telemetry.ops import ops_server

ROUNDS = 3
_TEXT = 950  # characters: 1 KB with the fields' names
_LOOK_S = 0.02


def run(
    *, posts: int = 20_000, partitions: int = 4, bootstrap_servers: str | None = None, seed: int = 1
) -> dict[str, Any]:
    """Judge text posts of 1 KB by the eight shipped policies with an instant engine, exactly once, logs and metrics on.

    Args:
        posts: On the input topic; worker and bare loop work through all of them in each of three rounds.
        partitions: Of each topic.
        bootstrap_servers: A Kafka to use; without it one is started for the run.
        seed: Of the posts.
    """
    with ExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(local_kafka())
        log = stack.enter_context(logging_to_a_file())
        made = asyncio.run(_rounds(address, f"bench-{secrets.token_hex(4)}", posts, partitions, seed))
        log.seek(0)
        return {**made, "log_lines": sum('"message": "post"' in line for line in log), "posts": posts, "seed": seed}


async def _rounds(address: str, name: str, posts: int, partitions: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    rates: dict[str, list[float]] = {"worker": [], "bare_loop": []}
    outputs: dict[bytes, Record] = {}
    for number in range(ROUNDS):
        ours = await topics_of(address, name, f"worker-{number}", partitions)
        bare = await topics_of(address, name, f"bare-{number}", partitions)
        if not number:
            await publish(ours, (record_of(ours.input_topic, at, rng) for at in range(posts)))
        rates["worker"].append(await worker_rate(ours, posts))
        if not number:
            outputs = {
                found.key: Record("", found.key, found.value, list(found.headers))
                async for found in read(ours, ours.output_topic)
            }
        rates["bare_loop"].append(await bare_loop(bare, outputs, posts))
    sizes = [len(output.value or b"") for output in outputs.values()]
    usual = {role: statistics.median(found) for role, found in rates.items()}
    return {
        "ratio": {"bare_loop": round(usual["worker"] / usual["bare_loop"], 3)},
        "posts_per_second": {role: round(rate, 1) for role, rate in usual.items()},
        "rounds": {role: [round(rate, 1) for rate in found] for role, found in rates.items()},
        "verdict_bytes": round(statistics.mean(sizes)),
        "partitions": partitions,
    }


async def topics_of(address: str, name: str, role: str, partitions: int) -> KafkaSettings:
    """Settings with an input that all share, and an output and a group of this role's own."""
    settings = KafkaSettings(
        bootstrap_servers=address,
        group=f"{name}.{role}",
        input_topic=f"{name}.posts",
        output_topic=f"{name}.{role}.verdicts",
        dead_letter_topic=f"{name}.dlq",
        review_topic=f"{name}.reviews",
        audit_topic=f"{name}.audit",
    )
    await create(settings, partitions)
    return settings


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
        worker = asyncio.create_task(Worker(kafka, judge, health).run(stop))
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
