"""Probes, metrics and the headers that every answer has, over real HTTP."""

import re

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from moderation_service.console.context import ConsoleContext
from tests.console.support import console_settings, served, shipped_pack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def context_on(database: AsyncEngine, url: str) -> ConsoleContext:
    pack = shipped_pack()
    return ConsoleContext(settings=console_settings(url), database=database, pack=pack)


async def test_a_console_with_its_database_is_ready(database: AsyncEngine, database_url: str) -> None:
    context = context_on(database, database_url)
    async with served(context) as address, aiohttp.ClientSession(address) as http:
        for probe in ("/livez", "/startupz", "/readyz"):
            async with http.get(probe) as answer:
                assert (answer.status, (await answer.json())["ok"]) == (200, True)
        for metrics in ("/metrics", "/%6detrics", "/metrics/", "/v1/metrics"):
            async with http.get(URL(metrics, encoded=True), allow_redirects=False) as answer:
                assert answer.status in {303, 404}, metrics
                assert "moderation_build_info" not in await answer.text()


async def test_what_is_away_is_told_and_takes_no_console_away(database: AsyncEngine, database_url: str) -> None:
    context = context_on(database, database_url)
    context.held.add("ingest: Kafka does not answer")
    async with served(context) as address, aiohttp.ClientSession(address) as http, http.get("/readyz") as answer:
        assert answer.status == 200
        assert (await answer.json())["held"] == ["ingest: Kafka does not answer"]


async def test_every_answer_has_the_ids_of_its_request_and_trace_and_a_strict_policy(
    database: AsyncEngine, database_url: str
) -> None:
    context = context_on(database, database_url)
    given = {"X-Request-ID": "mine-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with served(context) as address, aiohttp.ClientSession(address) as http:
        async with http.get("/no-such-page", headers=given) as answer:
            assert answer.headers["X-Request-ID"] == "mine-1"
            assert answer.headers["X-Trace-ID"] == TRACE
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
        async with http.get("/livez", headers={"X-Request-ID": "not an id"}) as answer:
            assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
