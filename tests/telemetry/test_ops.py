import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from moderation_service.errors import Misconfigured
from moderation_service.settings import OpsSettings
from moderation_service.telemetry.health import STALLED_AFTER_S, Health
from moderation_service.telemetry.ops import ops_server
from tests.timing import Clock


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


@pytest.fixture
async def base(health: Health) -> AsyncIterator[str]:
    async with ops_server(OpsSettings(host="127.0.0.1", port=0), health) as port:
        yield f"http://127.0.0.1:{port}"


async def probe(base: str, name: str) -> tuple[int, list[str]]:
    async with aiohttp.ClientSession() as session, session.get(f"{base}/{name}") as response:
        return response.status, (await response.json())["reasons"]


async def test_metrics_are_served_before_the_model_is_loaded(base: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{base}/metrics") as response:
        assert response.status == 200
        assert "moderation_verdicts" in await response.text()


async def test_startup_waits_for_the_model(base: str, health: Health) -> None:
    assert await probe(base, "startupz") == (503, ["model not warm"])
    health.started = True
    assert await probe(base, "startupz") == (200, [])


async def test_ready_once_the_model_is_warm_the_group_joined_and_nothing_holds(base: str, health: Health) -> None:
    assert await probe(base, "readyz") == (503, ["model not warm", "group not joined"])
    health.started = health.joined = True
    assert await probe(base, "readyz") == (200, [])
    health.holds.add("engine")
    assert await probe(base, "readyz") == (503, ["engine"])
    health.holds.clear()
    health.draining = True
    assert await probe(base, "readyz") == (503, ["draining"])


async def test_live_as_long_as_the_poll_loop_beats(base: str, health: Health, clock: Clock) -> None:
    assert (await probe(base, "livez"))[0] == 200
    health.beat()
    clock.now += STALLED_AFTER_S + 1
    assert await probe(base, "livez") == (503, ["the poll loop has stalled"])
    health.beat()
    assert (await probe(base, "livez"))[0] == 200


async def test_a_taken_port_is_said_in_one_line(health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = OpsSettings(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(Misconfigured, match="MODERATION_OPS__PORT"):
            await ops_server(settings, health).__aenter__()
