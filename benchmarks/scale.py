"""The worker by lanes and by backlog, and a start and a rebalance of many partitions.

Every figure is of a process of its own, with an instant engine and without a model.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

from benchmarks.command_line import main
from benchmarks.worker import (
    logging_to_a_file,
    processed,
    record_of,
    until,
    worker_rate,
    working,
)
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.bench.machine import peak_memory
from moderation_service.bench.open_loop import topics_of
from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import publish
from moderation_service.settings import KafkaSettings

LANES = (1, 2, 4, 8)
_USUAL_LANES = 4
_MANY, _FEW = 10, 4  # a backlog is ten times the one before; the smaller of the many partitions are a fourth

Figures = dict[str, float]


def run(
    *, posts: int = 100_000, partitions: int = 200, bootstrap_servers: str | None = None, seed: int = 1
) -> dict[str, Any]:
    """Work through backlogs of posts of 1 KB as `pipeline` does; then serve many partitions with one worker.

    Args:
        posts: The largest backlog, on four partitions; those before are a tenth and a hundredth of it. The one in the
            middle is worked through with 1, 2, 4 and 8 partitions too.
        partitions: The most of them for one worker; also a fourth of them.
        bootstrap_servers: A Kafka to use; without it one is started for the run.
        seed: Of the posts.
    """
    backlogs = tuple(max(1, posts // _MANY**times) for times in (2, 1, 0))
    with ExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(local_kafka())
        stack.enter_context(logging_to_a_file())
        name, rng = f"bench-{secrets.token_hex(4)}", random.Random(seed)  # noqa: S311 - repeatable, no secret

        def worked(lanes: int, backlog: int) -> Figures:
            kafka = asyncio.run(_fill(address, f"{name}.{lanes}x{backlog}", lanes, backlog, rng))
            return _apart(work, kafka, backlog)

        by_lanes = {lanes: worked(lanes, backlogs[1]) for lanes in LANES}
        by_backlog = {backlog: worked(_USUAL_LANES, backlog) for backlog in backlogs if backlog != backlogs[1]}
        by_backlog[backlogs[1]] = by_lanes[_USUAL_LANES]
        by_partitions = {}
        for count in (max(2, partitions // _FEW), partitions):
            kafka = asyncio.run(topics_of(address, f"{name}.{count}", "worker", count))
            by_partitions[count] = _apart(serve, kafka, count)
    small, large = by_backlog[backlogs[0]], by_backlog[backlogs[-1]]
    return {
        "ratio": {
            "memory_by_backlog": round(large["peak_memory_bytes"] / small["peak_memory_bytes"], 3),
            "lanes_8_over_1": round(by_lanes[8]["posts_per_second"] / by_lanes[1]["posts_per_second"], 3),
        },
        "lanes": by_lanes,
        "backlog": dict(sorted(by_backlog.items())),
        "partitions": by_partitions,
        "seed": seed,
    }


def work(kafka: KafkaSettings, posts: int) -> Figures:
    """Work through a backlog of `posts`: posts a second, and the most memory of this process."""
    with logging_to_a_file():
        rate = asyncio.run(worker_rate(kafka, posts))
    return {"posts_per_second": round(rate, 1), "peak_memory_bytes": peak_memory()}


def serve(kafka: KafkaSettings, partitions: int) -> Figures:
    """Seconds from the worker's start, and from another member's leaving, to a verdict from each partition."""
    with logging_to_a_file():
        start, rebalance = asyncio.run(_serve(kafka, partitions))
    return {
        "start_s": round(start, 2),
        "rebalance_s": round(rebalance, 2),
        "peak_memory_bytes": peak_memory(),
    }


async def _serve(kafka: KafkaSettings, partitions: int) -> tuple[float, float]:
    await post_to_each(kafka, partitions)
    begun = time.perf_counter()
    async with working(kafka) as worker:
        await until(lambda: processed() >= partitions or worker.done())
        start = time.perf_counter() - begun
        other = clients.consumer(kafka, kafka.input_topic, group=kafka.group)
        await other.start()
        try:
            await until(lambda: bool(other.assignment()) or worker.done())
        finally:
            begun = time.perf_counter()
            await other.stop()
        await post_to_each(kafka, partitions)
        await until(lambda: processed() >= 2 * partitions or worker.done())
        return start, time.perf_counter() - begun


async def post_to_each(kafka: KafkaSettings, partitions: int) -> None:
    """Publish a post to each of so many partitions."""
    rng = random.Random(1)  # noqa: S311 - as above
    async with clients.producer(kafka) as producer:
        for partition in range(partitions):
            post = record_of(kafka.input_topic, partition, rng)
            await producer.send(post.topic, post.value, post.key, partition=partition)


async def _fill(address: str, name: str, lanes: int, posts: int, rng: random.Random) -> KafkaSettings:
    kafka = await topics_of(address, name, "worker", lanes)
    await publish(kafka, (record_of(kafka.input_topic, number, rng) for number in range(posts)))
    return kafka


def _apart(measure: Callable[[KafkaSettings, int], Figures], kafka: KafkaSettings, count: int) -> Figures:
    """The figures of a fresh process. Raises what is raised there."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, kafka, count).result()


if __name__ == "__main__":
    main(run)
