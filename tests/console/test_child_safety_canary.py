"""A post with the route child_safety, by Kafka and by the API: nothing of it is anywhere but in the legal hold."""

import base64
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from prometheus_client import generate_latest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import Route
from structlog.testing import capture_logs

from moderation_service.banks.matcher import BankMatcher
from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.console.accounts import api_keys, users
from moderation_service.console.app import page_routes
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.ingest import Ingest
from moderation_service.console.store.tables import METADATA, outbox
from moderation_service.console.store.thumbnails import Thumbnails
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.contracts.enums import Route as PostRoute
from moderation_service.judging.batcher import Batcher
from moderation_service.judging.calibration import Calibration
from moderation_service.judging.judge import Judge
from moderation_service.judging.verdict_builder import VerdictBuilder
from moderation_service.media.loader import ImageLoader
from moderation_service.media.pdq import pdq, to_hex
from moderation_service.settings import ChildSafetySettings, Settings
from moderation_service.stream.processing_result import ReceivedRecord
from moderation_service.stream.processor import RecordProcessor
from tests.banks.images import image
from tests.console.accounts.browser import PASSWORD, Browser, browser
from tests.console.support import console_settings, served, shipped_pack
from tests.judging.engines import RuleEngine
from tests.stream.records import record

WORDS = "canary-of-the-held-words"
PIXELS = image(1, 512, 384)


def packed() -> bytes:
    """A near copy of what the bank knows."""
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "JPEG", quality=60)
    return out.getvalue()


BYTES = packed()
ENCODED = base64.b64encode(BYTES).decode()
MARKS = (WORDS.encode(), ENCODED[400:464].encode(), BYTES[400:448], repr(BYTES[400:448]).encode()[2:-1])


def post(post_id: str) -> dict[str, Any]:
    return {"post_id": post_id, "text": f"see {WORDS}", "images": [{"data": ENCODED}], "metadata": {"name": WORDS}}


@dataclass
class Held:
    """A console that judges, the worker beside it, and the legal hold of both."""

    address: str
    context: ConsoleContext
    worker: RecordProcessor
    hold: LegalHold
    engine: RuleEngine

    async def by_kafka(self, post_id: str) -> None:
        """The post as the console reads it, and then what the worker publishes."""
        kafka, ingest = self.context.settings.kafka, Ingest(self.context)
        value = json.dumps(post(post_id)).encode()
        given = record(value, post_id.encode())
        await ingest.write([_Read(kafka.input_topic, post_id.encode(), value)])
        finished = await self.worker.process(ReceivedRecord.of(given))
        assert [output.topic for output in finished.outputs] == [kafka.output_topic, kafka.escalation_topic]
        assert not any(mark in (output.value or b"") for output in finished.outputs for mark in MARKS)
        await ingest.write([_Read(kafka.output_topic, post_id.encode(), finished.outputs[0].value)])

    async def by_kafka_with_a_bug(self, post_id: str) -> list[bytes]:
        """What is published of the post where its verdict can't be built."""
        given = record(json.dumps(post(post_id)).encode(), post_id.encode())
        with pytest.MonkeyPatch.context() as patched:
            patched.delattr(VerdictBuilder, "build")
            finished = await self.worker.process(ReceivedRecord.of(given))
        (letter,) = finished.outputs
        assert letter.topic == self.context.settings.kafka.dead_letter_topic
        assert not finished.use_fallback()
        return [letter.value or b"", repr(letter.headers).encode()]


@dataclass
class _Read:
    topic: str
    key: bytes
    value: bytes | None
    partition: int = 0
    offset: int = 0


@asynccontextmanager
async def running(database: AsyncEngine, url: str, folder: Path) -> AsyncIterator[Held]:
    key = base64.b64encode(b"k" * 32).decode()
    safety = ChildSafetySettings.model_validate({"hold_path": folder, "hold_key": key})
    settings: Settings = console_settings(url, judging_backend="local").model_copy(update={"child_safety": safety})
    known, engine = BankMatcher(), RuleEngine()
    bank = Bank(name="known", action=BankAction.ESCALATE, route=PostRoute.CHILD_SAFETY)
    known.put_bank(bank, [BankEntry(kind="image_pdq", value=to_hex(pdq(PIXELS).hashes)[0])])
    async with ImageLoader(settings.media, keeps_bytes=True) as loader, Batcher(engine) as batcher:
        judge = Judge(
            settings=settings,
            pack=shipped_pack(),
            calibration=Calibration.load(None),
            loader=loader,
            engine=engine,
            batcher=batcher,
            shadow_batcher=batcher,
            banks=known,
        )
        hold = LegalHold(safety)
        context = ConsoleContext(settings, database, judge.pack, judge, hold)
        for name, role in (("mei", "reviewer"), ("root", "admin")):
            await users.add(database, settings.kafka, name, PASSWORD, role=role, actor="user:test")  # type: ignore[arg-type]
        async with served(context) as address:
            yield Held(address, context, RecordProcessor(settings.kafka, judge, hold=hold), hold, engine)


async def test_nothing_of_a_held_post_is_anywhere_but_in_the_hold(
    database: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "hold"
    folder.mkdir()
    with capture_logs() as logged:
        async with running(database, database_url, folder) as held:
            await held.by_kafka("p-1")
            shown = [
                *await held.by_kafka_with_a_bug("p-3"),
                *await by_api(held),
                *await seen_by(held, "mei"),
                *await seen_by(held, "root"),
            ]
            async with ImageLoader(held.context.settings.media) as loader:
                assert await Thumbnails(held.context.settings, database).make(loader) == 0
            shown += await rows(database)
            cases = list(held.hold.cases())
            await deleted(held, "p-1")
            shown += await rows(database)
    shown += [repr(logged).encode(), generate_latest()]
    assert [found[:200] for found in shown if any(mark in found for mark in MARKS)] == []
    assert held.engine.calls == []
    assert {case.post_id for case in cases} >= {"p-1", "p-2"}
    assert len(cases) == 4  # by Kafka, /v1/posts, /v1/moderations and the page to try
    parts = held.hold.read(next(case.case_id for case in cases if case.post_id == "p-1"))
    assert parts["image-0"] == BYTES
    assert WORDS.encode() in parts["post.json"]


async def by_api(held: Held) -> list[bytes]:
    """What callers are answered who send such posts, and who may read all verdicts but these."""
    kafka = held.context.settings.kafka
    key = await api_keys.create(held.context.database, kafka, "k", ["admin"], actor="user:test")
    parts = [
        {"type": "text", "text": WORDS},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{ENCODED}"}},
    ]
    found = []
    async with aiohttp.ClientSession(held.address, headers={"Authorization": f"Bearer {key}"}) as http:
        for path, body in (("/v1/posts", post("p-2")), ("/v1/moderations", {"input": parts})):
            async with http.post(path, json=body) as answer:
                assert answer.status == 200, await answer.text()
                found.append(await answer.read())
        verdict_id = json.loads(found[0])["verdict_id"]
        for path in ("/v1/verdicts", "/v1/verdicts?post_id=p-1", f"/v1/verdicts/{verdict_id}"):
            async with http.get(path) as answer:
                found.append(await answer.read())
        assert [json.loads(one)["verdicts"] for one in found[2:4]] == [[], []]
        assert json.loads(found[4])["code"] == "not_found"
    return found


async def seen_by(held: Held, user: str) -> list[bytes]:
    """All pages and what they load, as this person gets them: of a held post too."""
    async with held.context.database.connect() as connection:
        ids = select(METADATA.tables["verdicts"].c.verdict_id)
        verdict_ids = list((await connection.execute(ids)).scalars())
    paths = {route.path for route in page_routes() if isinstance(route, Route) and "GET" in (route.methods or ())}
    found = []
    async with browser(held.address) as at:
        await at.log_in(user)
        for path in sorted(paths):
            for verdict_id in verdict_ids if "verdict_id" in path else [""]:
                filled = path.replace("{verdict_id:path}", verdict_id).replace("{position}", "0")
                filled = filled.replace("{policy_id}", held.context.pack.policies[0].id)
                query = f"?verdict={verdict_ids[0]}" if path.startswith("/pictures") else ""
                answer = await at.get(filled + query)
                assert not answer.content_type.startswith("image/")
                if "verdict_id" in path or "pictures" in path or "safety" in path:
                    assert answer.status in {403, 404}, filled
                found.append((await answer.text()).encode())
        if user == "mei":
            found.append(await tried(at))
    return found


async def tried(at: Browser) -> bytes:
    """The page to try such a post on."""
    page = await (await at.get("/try")).text()
    token = re.search(r'csrf-token": "([^"]+)"', page, re.IGNORECASE)
    assert token
    form = aiohttp.FormData({"text": WORDS})
    form.add_field("picture", BYTES, filename="a.jpg")
    answer = await at.post("/try", data=form, headers={"X-CSRF-Token": token[1]})
    assert answer.status == 200
    return (await answer.text()).encode()


async def deleted(held: Held, post_id: str) -> None:
    """The caller is told nothing of the hold; the auditor is."""
    kafka = held.context.settings.kafka
    key = await api_keys.create(held.context.database, kafka, "erase", ["admin"], actor="user:test")
    async with (
        aiohttp.ClientSession(held.address, headers={"Authorization": f"Bearer {key}"}) as http,
        http.delete(f"/v1/posts/{post_id}") as answer,
    ):
        assert (answer.status, await answer.read()) == (204, b"")
    async with held.context.database.connect() as connection:
        values = (await connection.execute(select(outbox.c.value).where(outbox.c.topic == kafka.audit_topic))).scalars()
        entries = [json.loads(value) for value in values]
    kept = [(one["actor"], one["target"]) for one in entries if one["action"] == "erasure.kept_on_hold"]
    assert kept == [("key:erase", post_id)]
    assert held.hold.is_held(post_id)


async def rows(database: AsyncEngine) -> list[bytes]:
    """Every row of every table, and SQLite's files."""
    found = []
    async with database.connect() as connection:
        for table in METADATA.sorted_tables:
            found += [str(tuple(row)).encode() for row in await connection.execute(select(table))]
    if database.dialect.name == "sqlite":
        found += [path.read_bytes() for path in Path(database.url.database or "").parent.glob("*.db*")]
    return found
