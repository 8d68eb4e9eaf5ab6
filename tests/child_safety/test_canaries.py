"""Words and images of a routed post are in the input topic and in the sealed hold, and nowhere else a worker writes."""

import asyncio
import base64
import gzip
import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from aiohttp import web
from PIL import Image

from moderation_service.bench.local_kafka import free_port
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.contracts.escalation import Escalation
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.settings import ChildSafetySettings, KafkaSettings
from tests.engine.openai_server import ScriptedServer, serving
from tests.line.service import environment, kafka_settings, moderation, worker

TEXT, METADATA, AUTHOR_NOTE = "canary-of-the-text", "canary-of-more", "canary-of-the-note"
PHRASE = "canary phrase of the bank"
KEY = base64.b64encode(b"k" * 32).decode()


def image() -> bytes:
    """An image that says in its file what it is, so that its bytes are found again."""
    out = io.BytesIO()
    made = Image.effect_noise((96, 96), 90)
    made.save(out, "JPEG", comment=b"canary-of-the-picture")
    return out.getvalue()


def post(post_id: str, text: str, *images: bytes) -> Record:
    value = {
        "post_id": post_id,
        "text": text,
        "author_id": "u-1",
        "metadata": {METADATA: METADATA},
        "images": [{"data": base64.b64encode(data).decode()} for data in images],
    }
    return Record("", post_id.encode(), json.dumps(value).encode(), [("note", AUTHOR_NOTE.encode())])


def canaries(data: bytes) -> Iterator[bytes]:
    """What must not be found: words, the image's bytes, and each in base64 in any alignment."""
    for plain in (
        TEXT.encode(),
        METADATA.encode(),
        AUTHOR_NOTE.encode(),
        PHRASE.encode(),
        KEY.encode(),
        data[:64],
        data[-64:],
    ):
        yield plain
        for shift in range(3):
            yield base64.b64encode(bytes(shift) + plain)[4:-4]


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An OTLP endpoint, and what it was sent."""
    sent = list[bytes]()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        sent.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", sent
    finally:
        await runner.cleanup()


def engine(url: str) -> dict[str, str]:
    """A remote engine, as the environment names it."""
    named = {"KIND": "openai", "BASE_URL": url, "MODEL": "judge", "REVISION": "r1"}
    return {f"MODERATION_ENGINE__{name}": value for name, value in named.items()}


async def records(kafka: KafkaSettings, topic: str) -> list[bytes]:
    return [
        b"\n".join([record.key or b"", record.value or b"", *(value or b"" for _, value in record.headers)])
        async for record in read(kafka, topic)
    ]


def routed_bank(folder: Path, *entries: dict[str, str]) -> None:
    """A bank whose matches are escalated and have a route."""
    folder.mkdir()
    lines = [{"name": "known", "action": "escalate", "route": "child_safety"}, *entries]
    (folder / "known.jsonl").write_text("\n".join(map(json.dumps, lines)))


async def test_a_worker_without_a_legal_hold_does_not_start_with_a_routed_bank(kafka: str, tmp_path: Path) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=1, replication=1)
    routed_bank(tmp_path / "banks")
    async with serving(ScriptedServer()) as url:
        env = environment(settings, MODERATION_BANKS__PATH=str(tmp_path / "banks"), **engine(url))
        code, _, err = await moderation("run", env=env)
    assert code == 2
    assert "child_safety.hold_path: is not set, and bank known has a route" in err


@pytest.mark.timeout(120)
async def test_nothing_of_a_routed_post_is_told_but_to_the_hold(kafka: str, tmp_path: Path) -> None:
    settings, picture = kafka_settings(kafka), image()
    await create(settings, partitions=1, replication=1)
    (tmp_path / "hold").mkdir()
    by_bytes = {"kind": "image_sha256", "value": hashlib.sha256(picture).hexdigest(), "id": "image"}
    routed_bank(tmp_path / "banks", by_bytes, {"kind": "terms", "value": PHRASE, "id": "term"})
    posts = [
        post("by-image", TEXT, picture),
        post("by-words", f"{TEXT}, {PHRASE}", picture),
        post("broken-image", PHRASE, picture[: len(picture) // 2]),
    ]
    await publish(settings, [Record(settings.input_topic, one.key, one.value, one.headers) for one in posts])
    server, port = ScriptedServer(), free_port()
    async with serving(server) as url, collector() as (otlp, spans):
        env = environment(
            settings,
            OTEL_EXPORTER_OTLP_ENDPOINT=otlp,
            MODERATION_LOGGING__LEVEL="DEBUG",
            MODERATION_OPS__PORT=str(port),
            MODERATION_BANKS__PATH=str(tmp_path / "banks"),
            MODERATION_CHILD_SAFETY__HOLD_PATH=str(tmp_path / "hold"),
            MODERATION_CHILD_SAFETY__HOLD_KEY=KEY,
            **engine(url),
        )
        async with worker(env) as running:
            await running.logged('"message": "partitions assigned"')
            asked = len(server.bodies)  # at its start it asks the server whether it can judge
            while len(verdicts := await records(settings, settings.output_topic)) < len(posts):
                assert running.process.returncode is None, running.lines[-5:]
                await asyncio.sleep(0.3)
            shown = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/metrics").read())
            assert await running.stop() == 0
    assert len(server.bodies) == asked
    told = {
        "log": "".join(running.lines).encode(),
        "metrics": shown,
        "spans": b"\n".join(spans),
        "requests": json.dumps(server.bodies).encode(),
        "hold": b"\n".join(path.read_bytes() for path in (tmp_path / "hold").rglob("*") if path.is_file()),
    }
    topics = [getattr(settings, name) for name in KafkaSettings.model_fields if name.endswith("_topic")]
    for topic in topics:
        told[topic] = b"\n".join(await records(settings, topic))
    found = {name for name, written in told.items() for canary in canaries(picture) if canary in written}
    assert found == {settings.input_topic}

    assert told["spans"]
    assert told[settings.dead_letter_topic] == b""
    judged = [Verdict.model_validate_json(record.value) async for record in read(settings, settings.output_topic)]
    assert {verdict.post_id for verdict in judged} == {"by-image", "by-words", "broken-image"}
    assert {verdict.route for verdict in judged} == {"child_safety"}
    escalated = [
        Escalation.model_validate_json(record.value) async for record in read(settings, settings.escalation_topic)
    ]
    hold = LegalHold(ChildSafetySettings.model_validate({"hold_path": tmp_path / "hold", "hold_key": KEY}))
    assert sorted(one.case_id or "" for one in escalated) == sorted(case.case_id for case in hold.cases())
    by_post = {case.post_id: hold.read(case.case_id) for case in hold.cases()}
    assert by_post["by-image"]["image-0"] == by_post["by-words"]["image-0"] == picture
    assert by_post["broken-image"]["image-0"] == picture[: len(picture) // 2]
    assert by_post["by-words"]["post.json"] == posts[1].value
    assert len(verdicts) == len(posts)
