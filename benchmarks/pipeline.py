"""The whole worker on a real Kafka, against the least that a consume-transform-produce loop can do, exactly once."""

import asyncio
import random
import secrets
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks.command_line import main
from benchmarks.worker import logging_to_a_file, record_of, worker_rate
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.bench.open_loop import topics_of
from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.settings import KafkaSettings

ROUNDS = 3


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


async def bare_loop(settings: KafkaSettings, outputs: Mapping[bytes, Record], count: int) -> float:
    """Write each input record's output, by its key, with its offset in one transaction; records a second.

    Counted from the first of `count` records taken to the last commit. The clients are the service's own.
    """
    consumer = clients.consumer(settings, settings.input_topic, group=settings.group)
    producer = clients.producer(settings, f"{settings.group}.bare")
    await consumer.start()
    await producer.start()
    begun, done = 0.0, 0
    try:
        while done < count:
            found = await consumer.getmany(timeout_ms=200, max_records=settings.max_batch_posts)
            if not found:
                continue
            begun = begun or time.perf_counter()
            async with producer.transaction():
                for record in (record for records in found.values() for record in records):
                    output = outputs[record.key]
                    await producer.send(settings.output_topic, output.value, output.key, headers=output.headers)
                    done += 1
                offsets = {partition: records[-1].offset + 1 for partition, records in found.items()}
                await producer.send_offsets_to_transaction(offsets, settings.group)
        return count / (time.perf_counter() - begun)
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    main(run)
