# ruff: noqa: INP001 - a script, and no package
"""Posts a second of FastStream with the worker's own handler, and of the worker, on one broker in one run.

From a folder of its own (docs/explanation/performance.md has the command): FastStream is no dependency of the service.
FastStream commits offsets as it goes, and its outputs apart from them: a crash loses posts or judges them twice.
"""

import asyncio
import json
import random
import secrets
import statistics
import sys
import time
from importlib.metadata import version

from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from moderation_service.bench.broker import local_kafka
from moderation_service.bench.instant import InstantEngine
from moderation_service.bench.judging import open_judge
from moderation_service.bench.machine import machine
from moderation_service.bench.pipeline import logging_to_a_file, record_of, topics_of, until, worker_rate
from moderation_service.contracts.envelope import Trace, verdict_headers
from moderation_service.contracts.post import read_post
from moderation_service.kafka.topic_io import publish
from moderation_service.settings import BareSettings, KafkaSettings

POSTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
WORKERS = (None, 64)
ROUNDS = 3
PARTITIONS = 4
_PATIENCE_S = 600


async def faststream_rate(kafka: KafkaSettings, posts: int, workers: int | None) -> float:
    """Posts a second, from the first one taken to the last one answered."""
    begun = ended = 0.0
    done = 0
    broker = KafkaBroker(
        kafka.bootstrap_servers, acks="all", enable_idempotence=True, compression_type="lz4", logger=None
    )
    async with open_judge(BareSettings(kafka=kafka), InstantEngine()) as judge:

        @broker.subscriber(
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


async def main(address: str) -> dict[str, object]:
    """The rates of ROUNDS rounds, in turn."""
    rng, name = random.Random(1), f"bench-{secrets.token_hex(4)}"  # noqa: S311 - repeatable, no secret
    rates: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        kafka = await topics_of(address, name, f"worker-{number}", PARTITIONS)
        if not number:
            await publish(kafka, (record_of(kafka.input_topic, at, rng) for at in range(POSTS)))
        rates.setdefault("worker", []).append(await worker_rate(kafka, POSTS))
        for workers in WORKERS:
            kafka = await topics_of(address, name, f"faststream-{workers}-{number}", PARTITIONS)
            label = f"faststream, {workers} workers" if workers else "faststream"
            rates.setdefault(label, []).append(await faststream_rate(kafka, POSTS, workers))
    return {
        "posts_per_second": {label: round(statistics.median(found), 1) for label, found in rates.items()},
        "rounds": {label: [round(rate, 1) for rate in found] for label, found in rates.items()},
        "posts": POSTS,
        "machine": machine(),
        "faststream": version("faststream"),
    }


if __name__ == "__main__":
    with local_kafka() as running, logging_to_a_file():
        print(json.dumps(asyncio.run(main(running)), indent=1))  # noqa: T201 - its output
