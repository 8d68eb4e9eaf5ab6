"""`moderation demo --serve`: broker, worker and console in one process, as a newcomer sees them."""

import asyncio
import re

import aiohttp
import pytest

from tests.console.process.running import console
from tests.line.service import environment

PATIENCE_S = 150.0


@pytest.mark.timeout(240)
async def test_posts_trickle_in_are_judged_and_wait_for_a_reviewer() -> None:
    env = environment(MODERATION_KAFKA__BOOTSTRAP_SERVERS="not:1")  # the demo asks nobody else
    async with console(env, "demo", "--serve", "--port", "0", "--every", "0.2") as running, asyncio.timeout(PATIENCE_S):
        assert running.process.stdout
        said = dict[str, str]()
        while "API key" not in said:
            name, _, value = (await running.process.stdout.readline()).decode().partition(":")
            said[name] = value.strip()
        assert said.keys() >= {"Console", "User", "Password"}
        with_key = {"Authorization": f"Bearer {said['API key']}"}
        async with aiohttp.ClientSession(said["Console"].rstrip("/")) as http:
            judged = set[str]()
            while len(judged) < 30:
                async with http.get("/v1/verdicts", params={"limit": "100"}, headers=with_key) as answer:
                    assert answer.status == 200
                    judged = set(re.findall(r'"post_id": ?"(demo-[^"]+)"', await answer.text()))
                await asyncio.sleep(0.2)
            async with http.post("/v1/posts", json={"post_id": "mine", "text": "hello"}, headers=with_key) as answer:
                assert answer.status == 200
                mine = await answer.json()
            async with http.get(f"/v1/verdicts/{mine['verdict_id']}", headers=with_key) as answer:
                assert (await answer.json())["post_id"] == "mine"
            async with http.get("/readyz") as answer:
                assert (await answer.json())["held"] == []
        assert await running.stop() == 0
