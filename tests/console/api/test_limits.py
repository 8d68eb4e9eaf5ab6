"""How often a key may ask, and how many posts are judged at once."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.api.rate_limiter import RateLimiter
from moderation_service.judging.judge import Judge
from tests.console.api.callers import ON_SQLITE, problem, running
from tests.console.support import console_settings


def test_a_bucket_fills_again_and_never_over_its_brim() -> None:
    now = 0.0
    buckets = RateLimiter(lambda: now)
    assert [buckets.take("a", 2).wait_s for _ in range(3)] == [0, 0, 30]
    now = 29.0
    assert buckets.take("a", 2).wait_s == 1
    now = 30.0
    left = buckets.take("a", 2)
    assert (left.wait_s, left.remaining, left.full_in_s) == (0, 0, 60)
    now = 1000.0
    assert [buckets.take("a", 2).wait_s for _ in range(3)] == [0, 0, 30]
    assert buckets.take("b", 2).headers() == {"RateLimit-Policy": '"key";q=2;w=60', "RateLimit": '"key";r=1;t=30'}


@ON_SQLITE
async def test_several_texts_take_the_seats_that_are_free_and_no_more(
    database: AsyncEngine, database_url: str, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most, real = 0, 0, judge.judge

    async def counting(*asked: Any, **options: Any) -> Any:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        try:
            await asyncio.sleep(0)
            return await real(*asked, **options)
        finally:
            now -= 1

    monkeypatch.setattr(judge, "judge", counting)
    settings = console_settings(database_url, judging_backend="local", max_in_flight=3)
    texts = [f"hello {number}" for number in range(10)]
    async with running(database, settings, judge) as api, api.caller() as http:
        async with http.post("/v1/moderations", json={"input": texts}) as answer:
            assert len((await answer.json())["results"]) == 10
        assert most == 3
        with api.context.slots.take(3):
            async with http.post("/v1/moderations", json={"input": texts}) as answer:
                assert await problem(answer) == (503, "full")
        with api.context.slots.take(3) as free:
            assert free == 3
