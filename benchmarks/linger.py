"""What a linger saves in transactions, and costs in latency, at a steady rate of posts."""

import asyncio
import random
import secrets
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.command_line import main
from benchmarks.worker import count, logging_to_a_file, processed, record_of, until, working
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.bench.open_loop import open_loop, topics_of
from moderation_service.kafka.topic_io import publish
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics

_WITHOUT_MS = 0


def run(
    *,
    rate: float = 24.0,
    seconds: float = 30.0,
    partitions: int = 3,
    bootstrap_servers: str | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Send posts to one worker with an instant engine, first without a linger, then with that of the settings.

    Latency counts from when a post was due until its committed verdict was read.

    Args:
        rate: Posts a second; they come at random.
        seconds: For each of the two.
        partitions: Of each topic.
        bootstrap_servers: A Kafka to use; without it one is started for the run.
        seed: Of the posts, and of when they come.
    """
    with ExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(local_kafka())
        stack.enter_context(logging_to_a_file())
        gaps = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
        due = np.cumsum(gaps).tolist()
        asyncio.run(_figures(address, _WITHOUT_MS, due[: len(due) // 4 + 1], partitions, seed))  # a cold broker is slow
        lingers = {
            linger_ms: asyncio.run(_figures(address, linger_ms, due, partitions, seed))
            for linger_ms in (_WITHOUT_MS, KafkaSettings().linger_ms)
        }
    without, usual = (each["transactions_per_second"] for each in lingers.values())
    ratio = {"transactions": round(usual / without, 3)}
    return {
        "ratio": ratio,
        "linger_ms": lingers,
        "rate": rate,
        "posts": len(due),
        "partitions": partitions,
        "seed": seed,
    }


async def _figures(address: str, linger_ms: int, due: list[float], partitions: int, seed: int) -> dict[str, float]:
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    kafka = await topics_of(address, f"bench-{secrets.token_hex(4)}", "worker", partitions)
    kafka = kafka.model_copy(update={"linger_ms": linger_ms})
    await publish(kafka, (record_of(kafka.input_topic, -1 - number, rng) for number in range(partitions)))
    warm = processed() + partitions
    async with working(kafka) as worker, open_loop(kafka) as loop:
        await until(lambda: processed() >= warm or worker.done())
        before = count(metrics.COMMITS.labels("done"))
        answered = await loop.drive([record_of(kafka.input_topic, number, rng) for number in range(len(due))], due)
        transactions = count(metrics.COMMITS.labels("done")) - before
    p50, p99 = (round(1000 * float(np.percentile(answered.latency, each)), 1) for each in (50, 99))
    return {
        "transactions_per_second": round(transactions / answered.seconds, 2),
        "transactions_per_second_and_partition": round(transactions / answered.seconds / partitions, 2),
        "posts_per_transaction": round(len(due) / transactions, 2),
        "latency_ms_p50": p50,
        "latency_ms_p99": p99,
    }


if __name__ == "__main__":
    main(run)
