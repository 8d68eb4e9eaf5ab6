"""The whole service on a broker: posts with photographs in, verdicts out, by a checkpoint in this process."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.worker import count, logging_to_a_file, processed, until, working
from moderation_service.bench.generated_posts import photographs, text
from moderation_service.bench.random_model import CONTEXT
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.settings import EngineSettings, JudgingSettings, KafkaSettings, LayoutName, MediaSettings
from moderation_service.telemetry import metrics

WARM_UP = 16
"""Posts published and judged before the clock starts."""

KINDS = ("input", "output", "dead_letter", "review", "audit", "banks", "escalation")
"""Of topics."""
_TEXT = 200  # characters


def kafka_settings(address: str, topics: Sequence[str]) -> KafkaSettings:
    """On librdkafka's mock cluster, which knows no transactions; `topics` are of KINDS."""
    names = [f"{kind}_topic" for kind in KINDS]
    return KafkaSettings(
        bootstrap_servers=address,
        group="gpu-bench",
        delivery="at_least_once",
        **dict(zip(names, topics, strict=True)),
    )


def write_photographs(folder: Path, number: int, side: int) -> list[str]:
    """Their addresses, for posts: the broker trims a partition past a few MiB, so posts name files."""
    names = [f"{at}.jpg" for at in range(number)]
    for name, jpeg in zip(names, photographs(number, side, seed=5), strict=True):
        (folder / name).write_bytes(jpeg)
    return [f"file:{name}" for name in names]


def run(
    kafka: KafkaSettings, checkpoint: Checkpoint, layout: LayoutName, folder: Path, images: Sequence[str]
) -> dict[str, Any]:
    """Judge a post an image by the eight shipped policies' questions; the first few posts are not timed.

    Random weights put no mass on the labels: `min_label_mass` is 0, or every post would be an abstention. Each post is
    scored once, without single-modality passes, and nothing is explained.
    """
    engine = EngineSettings(
        device=str(checkpoint.device), layout=layout, prompt="brief", max_context_tokens=CONTEXT, answer_prefix=""
    )
    sections = {
        "engine": engine,
        "media": MediaSettings(allowed_schemes=frozenset({"file"}), file_root=folder),
        "judging": JudgingSettings(attribution="never", attribution_sample=0, min_label_mass=0, explain="never"),
    }
    with logging_to_a_file():
        return asyncio.run(_run(kafka, LocalEngine(engine, lambda _: checkpoint), sections, images))


async def _run(
    kafka: KafkaSettings, engine: LocalEngine, sections: dict[str, Any], images: Sequence[str]
) -> dict[str, Any]:
    rng = random.Random(6)  # noqa: S311 - repeatable, no secret
    records = [_record(kafka.input_topic, number, image, rng) for number, image in enumerate(images)]
    warm = min(WARM_UP, len(records) // 2)
    async with working(kafka, engine, **sections) as worker:
        judged, done = processed(), count(metrics.PROCESSED)
        await publish(kafka, records[:warm])
        await until(lambda: count(metrics.PROCESSED) == done + warm or worker.done())
        busy, tokens = _engine_seconds(), count(metrics.ENGINE_TOKENS)
        begun = time.perf_counter()
        await publish(kafka, records[warm:])
        await until(lambda: count(metrics.PROCESSED) == done + len(records) or worker.done())
        seconds = time.perf_counter() - begun
    if processed() != judged + len(records):
        msg = f"{processed() - judged:g} of {len(records)} posts had a verdict; the others are dead letters"
        raise Fatal(msg)
    timed = len(records) - warm
    return {
        "posts_per_second": round(timed / seconds, 3),
        "posts": timed,
        "tokens_a_post": round((count(metrics.ENGINE_TOKENS) - tokens) / timed),
        "engine_busy_share": round((_engine_seconds() - busy) / seconds, 3),
    }


def _record(topic: str, number: int, image: str, rng: random.Random) -> Record:
    post = Post(post_id=f"p-{number}", text=text(rng, _TEXT), images=(ImageRef(url=image),))
    return Record(topic, post.post_id.encode(), post.model_dump_json(exclude_defaults=True).encode())


def _engine_seconds() -> float:
    """Spent in calls of the engine to score."""
    (metric,) = metrics.ENGINE_CALL_SECONDS.collect()
    return sum(
        sample.value for sample in metric.samples if sample.name.endswith("_sum") and sample.labels["kind"] == "score"
    )
