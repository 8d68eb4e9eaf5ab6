"""FastStream with the worker's own handler against the worker, on one broker.

FastStream is no dependency of the service: docs/explanation/performance.md says how to get it. It commits offsets as it
goes, and its outputs apart from them: a crash loses posts or judges them twice.
"""

import asyncio
import random
import secrets
import statistics
import time
from importlib.metadata import version
from typing import Any

from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from benchmarks.command_line import main
from benchmarks.worker import InstantEngine, logging_to_a_file, open_judge, record_of, until, worker_rate
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.bench.open_loop import topics_of
from moderation_service.contracts.envelope import Trace, verdict_headers
from moderation_service.contracts.post import read_post
from moderation_service.kafka.topic_io import publish
from moderation_service.settings import BareSettings, KafkaSettings

WORKERS = (None, 64)
ROUNDS = 3
PARTITIONS = 4
_PATIENCE_S = 600


def run(*, posts: int = 5000, seed: int = 1) -> dict[str, Any]:
    """Judge the same posts by the worker and by FastStream, one at a time and 64 at once, in three rounds in turn.

    Args:
        posts: On the input topic.
        seed: Of the posts.
    """
    with local_kafka() as address, logging_to_a_file():
        rates = asyncio.run(_rates(address, posts, seed))
    usual = {label: round(statistics.median(found), 1) for label, found in rates.items()}
    worker, *others = usual.values()
    return {
        "ratio": {"worker_over_faststream": round(worker / max(others), 3)},
        "posts_per_second": usual,
        "rounds": {label: [round(rate, 1) for rate in found] for label, found in rates.items()},
        "posts": posts,
        "faststream": version("faststream"),
        "seed": seed,
    }


async def _rates(address: str, posts: int, seed: int) -> dict[str, list[float]]:
    rng, name = random.Random(seed), f"bench-{secrets.token_hex(4)}"  # noqa: S311 - repeatable, no secret
    rates: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        kafka = await topics_of(address, name, f"worker-{number}", PARTITIONS)
        if not number:
            await publish(kafka, (record_of(kafka.input_topic, at, rng) for at in range(posts)))
        rates.setdefault("worker", []).append(await worker_rate(kafka, posts))
        for workers in WORKERS:
            kafka = await topics_of(address, name, f"faststream-{workers}-{number}", PARTITIONS)
            label = f"faststream, {workers} workers" if workers else "faststream"
            rates.setdefault(label, []).append(await _faststream_rate(kafka, posts, workers))
    return rates


async def _faststream_rate(kafka: KafkaSettings, posts: int, workers: int | None) -> float:
    """Posts a second, from the first one taken to the last one answered."""
    begun = ended = 0.0
    done = 0
    broker = KafkaBroker(
        kafka.bootstrap_servers, acks="all", enable_idempotence=True, compression_type="lz4", logger=None
    )
    async with open_judge(BareSettings(kafka=kafka), InstantEngine()) as judge:

        @broker.subscriber(  # type: ignore[untyped-decorator]
            kafka.input_topic,
            group_id=kafka.group,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_workers=workers,
        )
        async def handle(message: KafkaMessage) -> None:
            nonlocal begun, done, ended
            begun = begun or time.perf_counter()
            trace = Trace.of([])
            post = read_post(message.body)
            verdict = (await judge.judge(post, trace_id=trace.trace_id)).verdict
            headers = {name: value.decode() for name, value in verdict_headers(verdict, trace)}
            await broker.publish(verdict.to_json(), kafka.output_topic, key=message.raw_message.key, headers=headers)
            done, ended = done + 1, time.perf_counter()

        await broker.start()
        try:
            async with asyncio.timeout(_PATIENCE_S):  # a handler that fails is silent
                await until(lambda: done >= posts)
        finally:
            await broker.stop()
    return posts / (ended - begun)


if __name__ == "__main__":
    main(run)
