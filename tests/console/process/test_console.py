"""`moderation console` through a life: killed while it reads, Kafka away and back, asked to end, wrongly set up."""

import asyncio
import socket
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select

from benchmarks.postgres import local_postgres, missing_postgres
from moderation_service.bench.local_kafka import free_port
from moderation_service.console.store.database import open_database
from moderation_service.console.store.tables import verdicts
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.console.process.running import console, console_environment
from tests.console.store.test_ingest import on_topic, publish_all, review_of, stored
from tests.contracts.examples import verdict
from tests.engine.openai_server import ScriptedServer, serving
from tests.line.service import kafka_settings
from tests.stream.proxy import proxy
from tests.stream.support import eventually

PATIENCE_S = 90.0
MANY = 4000


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    made = kafka_settings(kafka)
    await create(made, partitions=3)
    return made


def young(**changes: Any) -> Verdict:
    """A verdict that retention has nothing to do with."""
    return verdict(judged_at=datetime.now(UTC), **changes)


async def count(database_url: str) -> int:
    async with open_database(database_url) as database, database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(verdicts))).scalar_one()


async def until_there(database_url: str, wanted: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await count(database_url) < wanted:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.1)


async def held(address: str) -> list[str]:
    async with aiohttp.ClientSession() as http, http.get(f"{address}/readyz") as answer:
        assert answer.status == 200
        return list((await answer.json())["held"])


@pytest.mark.timeout(300)
async def test_killed_while_it_reads_its_rows_equal_the_topic(database_url: str, settings: KafkaSettings) -> None:
    given = [young(verdict_id=f"v{n}", post_id=f"p{n % 900}", post_revision=n // 900) for n in range(MANY)]
    records = [Record(settings.output_topic, one.post_id.encode(), one.to_json()) for one in given]
    env = console_environment(database_url, settings)
    await publish(settings, records[: MANY // 4])
    for part in range(1, 4):
        async with console(env) as killed:
            await killed.logged("console open")
            before = await count(database_url)
            await publish(settings, records[part * MANY // 4 : (part + 1) * MANY // 4])
            await until_there(database_url, before + 1)
            killed.process.kill()
    async with console(env) as last:
        await last.logged("console open")
        await publish_all(settings, *map(review_of, given[:3]))
        await until_there(database_url, MANY)
        assert await last.stop() == 0
    async with open_database(database_url) as database:
        assert await stored(database) == await on_topic(settings)
        async with database.connect() as connection:
            newest = select(verdicts.c.post_id, verdicts.c.post_revision).where(verdicts.c.newest)
            rows = [tuple(row) for row in await connection.execute(newest)]
    highest = {one.post_id: one.post_revision for one in given}
    assert sorted(rows) == sorted(highest.items())


@pytest.mark.timeout(240)
async def test_pages_go_on_while_kafka_is_away_and_reading_goes_on_when_it_is_back(
    kafka: str, tmp_path: Path, settings: KafkaSettings
) -> None:
    host, _, port = kafka.partition(":")
    url = f"sqlite:///{tmp_path}/console.db"
    listen = free_port()
    behind = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{listen}"})
    await publish_all(settings, young(verdict_id="before", post_id="a"))
    async with console(console_environment(url, behind)) as running:
        address = await running.address()
        async with asyncio.timeout(PATIENCE_S):
            while not any("ingest" in why for why in await held(address)):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.2)
        async with proxy(host, int(port), listen):
            await until_there(url, 1)
            async with asyncio.timeout(PATIENCE_S):
                while any("ingest" in why for why in await held(address)):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.2)
        assert running.count("the topics are read again") == 1
        assert await running.stop() == 0


async def test_asked_to_end_while_kafka_is_away_it_ends(tmp_path: Path) -> None:
    nobody = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    async with console(console_environment(f"sqlite:///{tmp_path}/console.db", nobody)) as running:
        await running.address()
        assert await running.stop() == 0


@pytest.mark.timeout(240)
async def test_the_pages_are_there_before_the_engines_server_and_the_banks_which_are_waited_for(
    kafka: str, tmp_path: Path, settings: KafkaSettings
) -> None:
    host, _, kafka_port = kafka.partition(":")
    port, listen = free_port(), free_port()
    settings = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{listen}"})
    engine = {"BASE_URL": f"http://127.0.0.1:{port}/v1", "MODEL": "judge", "REVISION": "1"}
    more = {f"MODERATION_ENGINE__{name}": value for name, value in engine.items()}
    more |= {"MODERATION_CONSOLE__JUDGING_BACKEND": "openai", "MODERATION_JUDGING__CALIBRATION": "none"}
    async with console(console_environment(f"sqlite:///{tmp_path}/console.db", settings, **more)) as running:
        address = await running.address()
        async with aiohttp.ClientSession(address) as http, http.get("/login") as answer:
            assert answer.status == 200
        await running.logged("waiting for the engine's server")
        async with serving(ScriptedServer(), port), asyncio.timeout(PATIENCE_S):
            await running.logged("model loaded")
            while f"banks: topic {settings.banks_topic} is not read yet" not in await held(address):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            async with proxy(host, int(kafka_port), listen):
                while await held(address):  # noqa: ASYNC110 - over HTTP
                    await asyncio.sleep(0.2)
        assert await running.stop() == 0


async def refused(env: dict[str, str]) -> tuple[int, str]:
    async with console(env) as running, asyncio.timeout(PATIENCE_S):
        code = await running.process.wait()
        await running.reading
        return code, running.lines[-1]


async def test_what_is_set_wrongly_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    nobody, url = KafkaSettings(bootstrap_servers="127.0.0.1:1"), f"sqlite:///{tmp_path}/console.db"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = await refused({**console_environment(url, nobody), "MODERATION_CONSOLE__PORT": port})
        assert (code, f"console.port {port}" in said) == (2, True)
    code, said = await refused(console_environment(f"sqlite:///{tmp_path}/nowhere/console.db", nobody))
    assert (code, "console.database_url" in said) == (2, True)
    code, said = await refused(console_environment(url, nobody, MODERATION_CONSOLE__JUDGING_BACKEND="openai"))
    assert (code, "engine.base_url" in said) == (2, True)
    code, said = await refused(console_environment(url, nobody, MODERATION_POLICIES__PATH="/nowhere"))
    assert (code, "/nowhere" in said) == (2, True)
    away = "postgresql://ann:secret@127.0.0.1:1/x"
    code, said = await refused(console_environment(away, nobody))
    assert (code, "console.database_url" in said, "secret" in said) == (3, True, False)


@pytest.mark.timeout(240)
async def test_while_the_database_is_away_it_is_alive_and_not_ready(settings: KafkaSettings) -> None:
    if reason := missing_postgres():
        skip_or_fail(reason)
    with ExitStack() as server:
        url = f"{server.enter_context(local_postgres(['fsync=off']))}/postgres"
        async with console(console_environment(url, settings)) as running:
            address = await running.address()

            async def all_is_read() -> bool:
                return not await held(address)

            await eventually(all_is_read, "the banks")
            server.close()
            async with aiohttp.ClientSession(address) as http:
                async with http.get("/readyz") as answer:
                    assert answer.status == 503
                    assert (await answer.json())["reasons"] == ["the database does not answer"]
                async with http.get("/livez") as answer:
                    assert answer.status == 200
            await publish_all(settings, young(post_id="a"))
            await running.logged("the database does not answer")
            assert running.process.returncode is None
            assert await running.stop() == 0
