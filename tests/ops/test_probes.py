"""What Kubernetes sees of a worker: while its model can't be had, while it warms up, at work, and while it drains."""

import asyncio
import json
from contextlib import nullcontext
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY

from moderation_service.app import compose
from moderation_service.backoff import Backoff
from moderation_service.bench.local_kafka import free_port
from moderation_service.errors import Fatal, Misconfigured, Unavailable
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from tests.engine.openai_server import ScriptedServer, serving, silent
from tests.line.service import environment, kafka_settings, worker
from tests.stream.support import eventually

QUICK = Backoff(0.01, 60.0)
UNCOUNTED = "moderation_model_load_failures_total 0.0"


class Probed:
    """A worker's operations port."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    async def ask(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self._base}/{path}") as answer:
            return answer.status, await answer.text()

    async def reasons(self, path: str) -> list[str]:
        return list(json.loads((await self.ask(path))[1])["reasons"])


@pytest.mark.timeout(170)
async def test_probes_follow_a_worker_from_before_its_server_is_there_to_its_drain(kafka: str) -> None:
    topics, server, server_port = kafka_settings(kafka), ScriptedServer(), free_port()
    await create(topics, partitions=1, replication=1)
    url = f"http://127.0.0.1:{server_port}/v1"
    engine = {"KIND": "openai", "BASE_URL": url, "MODEL": "judge", "REVISION": "1"}
    env = environment(topics, **{f"MODERATION_ENGINE__{name}": value for name, value in engine.items()})
    async with worker(env | {"MODERATION_JUDGING__CALIBRATION": "none"}) as running:
        await running.logged("waiting for the engine's server")
        port = next(json.loads(line)["port"] for line in running.lines if "ops port open" in line)
        probed = Probed(port)
        assert UNCOUNTED in (await probed.ask("metrics"))[1]
        assert await probed.reasons("startupz") == ["model not warm"]
        assert await probed.reasons("readyz") == ["model not warm", "group not joined"]
        assert await probed.reasons("livez") == []

        async with serving(server, server_port):
            await running.logged("partitions assigned")
            order = [line for line in running.lines if "model loaded" in line or "partitions assigned" in line]
            assert "model loaded" in order[0]
            assert await probed.reasons("startupz") == []

            async def ready() -> bool:
                return not await probed.reasons("readyz")

            await eventually(ready, "ready")

            server.well = silent
            value = json.dumps({"post_id": "p", "text": "held"}).encode()
            await publish(topics, [Record(topics.input_topic, b"p", value)])
            await eventually(lambda: server.now > 0, "the engine is asked")
            assert await probed.reasons("livez") == []
            stopping = asyncio.create_task(running.stop())

            async def draining() -> bool:
                return "draining" in await probed.reasons("readyz")

            await eventually(draining, "readiness says that it drains")
            assert await probed.reasons("livez") == []
            assert await probed.reasons("startupz") == []
            assert await asyncio.wait_for(stopping, timeout=15) == 0


class Failing:
    """An engine whose start raises what it is given, in turn."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)


def failures() -> float:
    return REGISTRY.get_sample_value("moderation_model_load_failures_total") or 0.0


@pytest.mark.parametrize(
    ("errors", "starts", "raised"),
    [
        ([Fatal("broken")] * 3, 4, None),
        ([Fatal("broken")] * 5, 4, Fatal),
        ([Misconfigured("wrong")], 1, Misconfigured),
        ([Unavailable("away")] * 9 + [Fatal("broken")] * 2, 12, None),
    ],
)
async def test_a_failed_load_is_counted_and_tried_again_but_not_a_wrong_setting(
    errors: list[Exception], starts: int, raised: type[Exception] | None
) -> None:
    engine: Any = Failing(*errors)
    before = failures()
    failing = sum(not isinstance(error, Unavailable) for error in errors[:starts])
    with nullcontext() if raised is None else pytest.raises(raised):
        await compose.start_engine(engine, startup_timeout_s=60, backoff=QUICK)
    assert engine.starts == starts
    assert failures() - before == failing


@pytest.mark.parametrize("timeout_s", [0, 0.5])
async def test_a_server_is_waited_for_as_long_as_the_setting_says_and_commands_do_not_wait(
    timeout_s: float,
) -> None:
    engine: Any = Failing(*[Unavailable("away")] * 99)
    with pytest.raises(Unavailable):
        await compose.start_engine(engine, startup_timeout_s=timeout_s, backoff=QUICK)
    assert (engine.starts > 1) == bool(timeout_s)
