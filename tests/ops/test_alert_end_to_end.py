"""An engine that fails wakes somebody: worker, Prometheus, Alertmanager and rules as they are shipped, but quicker."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from moderation_service.bench.local_kafka import free_port
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from tests.engine.openai_server import ScriptedServer, failing, serving
from tests.line.service import environment, kafka_settings, worker
from tests.ops.files import ALERTMANAGER, RULES, program

RUNBOOKS = "https://git.example/moderation/"
JUDGED = '"message": "post"'


def prometheus_files(folder: Path, worker_port: int, alertmanager_port: int) -> Path:
    """A configuration that loads the shipped rules, their times cut to seconds."""
    text = RULES.read_text(encoding="utf-8")
    text = re.sub(r"\[\d+[mhd]\]", "[10s]", re.sub(r"\bfor: \d+[mh]\b", "for: 2s", text))
    (folder / "rules.yaml").write_text(text, encoding="utf-8")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"runbooks": RUNBOOKS}},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]},
        "scrape_configs": [
            {"job_name": "moderation", "static_configs": [{"targets": [f"127.0.0.1:{worker_port}"]}]},
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "prometheus.yml"


def alertmanager_file(folder: Path, hook: str) -> Path:
    """The shipped configuration; of its channels the webhook alone, for the others are not of this machine."""
    config = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
    config["global"] = {}
    config["route"]["routes"][0]["group_wait"] = "0s"
    config["receivers"] = [
        {"name": "channel"},
        {"name": "people", "webhook_configs": [{"url": hook}]},
    ]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "alertmanager.yml"


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, asyncio.Queue[dict[str, Any]]]]:
    """A webhook's address, and what it got."""
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            got.put_nowait(alert)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", got
    finally:
        await runner.cleanup()


async def wait_for(alert: str, got: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    while True:
        told = await got.get()
        if told["labels"]["alertname"] == alert:
            return told


def posts(topic: str, name: str, count: int) -> list[Record]:
    return [
        Record(topic, f"{name}-{n}".encode(), json.dumps({"post_id": f"{name}-{n}", "text": f"{name} {n}"}).encode())
        for n in range(count)
    ]


@pytest.mark.timeout(120)
async def test_an_engine_that_fails_reaches_people_with_a_link_to_the_runbook(kafka: str, tmp_path: Path) -> None:
    prometheus, alertmanager = program("prometheus"), program("prometheus-alertmanager")
    topics, server, ports = kafka_settings(kafka), ScriptedServer(), [free_port() for _ in range(3)]
    worker_port, alertmanager_port, prometheus_port = ports
    await create(topics, partitions=1, replication=1)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(server))
        hook, got = await stack.enter_async_context(receiver())
        engine = {"KIND": "openai", "BASE_URL": url, "MODEL": "judge", "REVISION": "1"}
        env = environment(topics, **{f"MODERATION_ENGINE__{name}": value for name, value in engine.items()})
        env |= {"MODERATION_OPS__PORT": str(worker_port), "MODERATION_JUDGING__CALIBRATION": "none"}
        running = await stack.enter_async_context(worker(env))
        await publish(topics, posts(topics.input_topic, "well", 20))
        await running.logged(JUDGED, times=20)
        await stack.enter_async_context(
            process(
                alertmanager,
                f"--config.file={alertmanager_file(tmp_path, hook)}",
                f"--storage.path={tmp_path / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{alertmanager_port}",
                "--cluster.listen-address=",
            )
        )
        await stack.enter_async_context(
            process(
                prometheus,
                f"--config.file={prometheus_files(tmp_path, worker_port, alertmanager_port)}",
                f"--storage.tsdb.path={tmp_path / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{prometheus_port}",
            )
        )
        server.well = failing(500)
        await publish(topics, posts(topics.input_topic, "ill", 20))
        told = await asyncio.wait_for(wait_for("ModerationErrorRateHigh", got), timeout=60)
        assert told["status"] == "firing"
        assert told["labels"]["severity"] == "critical"
        assert told["annotations"]["runbook_url"] == f"{RUNBOOKS}docs/how-to/runbook.md#moderationerrorratehigh"
        assert "of the tries to judge a post fail" in told["annotations"]["summary"]
