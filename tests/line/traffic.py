"""Records for the acceptance runs, and what the topics hold afterwards."""

import base64
import io
import json
import random
from collections import Counter
from dataclasses import dataclass

import numpy as np

from moderation_service.demo.glyphs import CLASSES
from moderation_service.demo.images import render
from moderation_service.kafka.topic_io import Record, read
from moderation_service.settings import KafkaSettings

LARGE = 3 * 1024 * 1024
OUT_OF_REACH = ("https://127.0.0.1:1/a.png", "https://10.0.0.1/a.png", "file:a.png")  # one nobody serves, two refused
REACHABLE = {"MODERATION_MEDIA__ALLOWED_NETWORKS": '["127.0.0.0/8"]', "MODERATION_MEDIA__ALLOWED_PORTS": "[443, 1]"}


def traffic(topic: str, seed: int, posts: int = 480, deleted: int = 4) -> list[Record]:
    """`posts` posts (half with images, ten out of reach, three of 3 MB), 20 poison of five kinds, and deletions."""
    rng, paint = random.Random(seed), np.random.default_rng(seed)
    records = [_post(topic, number, rng, paint) for number in range(posts)]
    records += [
        Record(topic, f"poison-{n}".encode(), value, headers) for n, (value, headers) in enumerate(_poison() * 4)
    ]
    rng.shuffle(records)
    return records + [Record(topic, f"p-{number}".encode(), None) for number in range(deleted)]


def _post(topic: str, number: int, rng: random.Random, paint: np.random.Generator) -> Record:
    fields: dict[str, object] = {"post_id": f"p-{number}", "text": f"Message number {number}, {rng.choice(_WORDS)}"}
    if number < 10:
        fields["images"] = [{"url": OUT_OF_REACH[number % len(OUT_OF_REACH)]}]
    elif number % 2:
        image = io.BytesIO()
        render(rng.choice(CLASSES), paint).save(image, "PNG")
        fields["images"] = [{"data": base64.b64encode(image.getvalue()).decode()}]
    elif number < 16:
        fields["metadata"] = {"blob": "x" * LARGE}
    return Record(topic, f"p-{number}".encode(), json.dumps(fields).encode())


_WORDS = ("lovely evening", "DM me for the price", "seen in the museum", "九成新，价格私聊", "this cures everything")


def _poison() -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    return [
        (b'{"post_id": ', []),
        (b'{"post_id": "x"}', []),
        (b"\xff\xfe\x00", []),
        (b'{"post_id": "x", "text": "y"}', [("content-type", b"application/avro")]),
        (b'{"post_id": 5, "text": ["z"]}', []),
    ]


@dataclass(frozen=True)
class Found:
    """What a reader of committed records sees: keys with their counts."""

    verdicts: Counter[bytes]
    nulls: Counter[bytes]
    dead_letters: Counter[bytes]
    verdict_values: list[bytes]


async def found(kafka: KafkaSettings) -> Found:
    """Read the output and dead-letter topics whole."""
    outputs = [record async for record in read(kafka, kafka.output_topic)]
    letters = [record async for record in read(kafka, kafka.dead_letter_topic) if record.value is not None]
    return Found(
        verdicts=Counter(record.key for record in outputs if record.value is not None),
        nulls=Counter(record.key for record in outputs if record.value is None),
        dead_letters=Counter(record.key for record in letters),
        verdict_values=[record.value for record in outputs if record.value is not None],
    )
