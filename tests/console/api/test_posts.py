"""`/v1/posts`: judged here, kept and published like any other; looked up, reviewed, and asked for again."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import posts as kept_posts
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.console.store.tables import jobs, outbox, verdicts
from moderation_service.console.store.verdicts import erase
from moderation_service.contracts.verdict import Verdict
from moderation_service.demo.samples import posts
from moderation_service.judging.judge import Judge
from moderation_service.kafka.topic_io import read
from moderation_service.kafka.topics import create
from tests.console.api.callers import ON_SQLITE, Api, make_image, problem, running
from tests.console.support import console_settings
from tests.line.service import environment, kafka_settings, moderation
from tests.stream.support import Record, eventually, publish
from tests.stream.support import running as working

THREAT = {"post_id": "p-1", "text": "I will find you and break your legs", "metadata": {"a": "\0"}}


async def post(api: Api, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    async with api.caller() as http, http.post("/v1/posts", json=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        return told


async def rows(api: Api, table: Any) -> int:
    async with api.context.database.connect() as connection:
        found: int = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        return found


async def test_a_post_has_its_verdict_at_once_and_it_is_there_to_be_looked_up(api: Api) -> None:
    made = await post(api, THREAT)
    assert Verdict.model_validate_json(json.dumps(made)).decision in {"review", "block"}
    async with api.caller() as http:
        async with http.get(f"/v1/verdicts/{made['verdict_id']}") as answer:
            assert await answer.json() == made
        async with http.get("/v1/verdicts", params={"post_id": "p-1", "policy_id": "violence"}) as answer:
            assert await answer.json() == {"verdicts": [made], "next_before": None}
        async with http.get("/v1/verdicts", params={"decision": "allow"}) as answer:
            assert (await answer.json())["verdicts"] == []
    shown = await kept_posts.shown(api.context.database, "p-1", 1)
    assert shown is not None
    assert shown.text == THREAT["text"]


async def test_a_byte_order_mark_is_skipped_and_half_a_surrogate_pair_is_a_replacement_character(api: Api) -> None:
    body = b'\xef\xbb\xbf{"post_id": "p-1", "text": "cut \\ud83d"}'
    headers = {"Content-Type": "application/json"}
    async with api.caller() as http, http.post("/v1/posts", data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
    shown = await kept_posts.shown(api.context.database, "p-1", 1)
    assert shown is None or shown.text == "cut \ufffd"


async def test_pages_of_verdicts_follow_one_another(api: Api) -> None:
    ids = [(await post(api, {"post_id": f"p-{n}", "text": "hello"}))["verdict_id"] for n in range(5)]
    seen: list[str] = []
    wanted: dict[str, str] = {"limit": "2"}
    async with api.caller() as http:
        while True:
            async with http.get("/v1/verdicts", params=wanted) as answer:
                told = await answer.json()
            seen += [verdict["verdict_id"] for verdict in told["verdicts"]]
            if told["next_before"] is None:
                break
            wanted["before"] = str(told["next_before"])
    assert seen == ids[::-1]


async def test_the_same_post_again_is_the_same_verdict_kept_once_and_published_once(api: Api) -> None:
    first, again = await post(api, THREAT), await post(api, THREAT)
    assert again == first
    assert await rows(api, verdicts) == 1
    async with api.context.database.connect() as connection:
        waiting = (await connection.execute(select(outbox.c.entry_id))).scalars().all()
    assert waiting.count(first["verdict_id"]) == 1


async def test_a_request_with_an_idempotency_key_is_judged_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    judge: Any = api.context.judge
    judged: list[str] = []
    real = judge.judge

    async def counting(asked: Any, **options: Any) -> Any:
        judged.append(asked.post_id)
        return await real(asked, **options)

    monkeypatch.setattr(judge, "judge", counting)
    first = await post(api, THREAT, **{"Idempotency-Key": "k-1"})
    assert await post(api, THREAT, **{"Idempotency-Key": "k-1"}) == first
    assert judged == ["p-1"]
    async with api.caller() as http:
        other = {**THREAT, "text": "hello"}
        async with http.post("/v1/posts", json=other, headers={"Idempotency-Key": "k-1"}) as answer:
            assert await problem(answer) == (422, "key_used")
    another = await api.new_key("judge")  # the same word of another caller is another key
    given = {"Idempotency-Key": "k-1"}
    async with api.caller(another) as http, http.post("/v1/posts", json=other, headers=given) as answer:
        assert answer.status == 200


async def test_one_idempotency_key_sent_twice_at_once_has_one_answer(api: Api) -> None:
    found = await asyncio.gather(*(post(api, THREAT, **{"Idempotency-Key": "k-1"}) for _ in range(8)))
    assert all(one == found[0] for one in found)
    assert await rows(api, verdicts) == 1


async def test_an_erased_verdict_is_gone_for_its_idempotency_key_too(api: Api) -> None:
    await post(api, THREAT, **{"Idempotency-Key": "k-1"})
    async with api.context.database.begin() as connection:
        await erase(connection, ["p-1"])
    given = {"Idempotency-Key": "k-1"}
    async with api.caller() as http, http.post("/v1/posts", json=THREAT, headers=given) as answer:
        assert await problem(answer) == (410, "gone")


async def test_a_verdict_that_its_topic_would_not_take_is_refused(
    database: AsyncEngine, database_url: str, judge: Judge
) -> None:
    settings = console_settings(database_url, judging_backend="local")
    kafka = settings.kafka.model_copy(update={"max_message_bytes": 160 * 1024})
    # 1e15 takes four bytes in the request, and 18 in the verdict
    body = json.dumps({"post_id": "p", "text": "a", "metadata": {"n": "N"}}).replace('"N"', f"[{'1e15,' * 30_000}1]")
    assert len(body) < kafka.max_message_bytes
    async with running(database, settings.model_copy(update={"kafka": kafka}), judge) as api, api.caller() as http:
        async with http.post("/v1/posts", data=body, headers={"Content-Type": "application/json"}) as answer:
            assert await problem(answer) == (413, "too_large")
        assert await rows(api, verdicts) == 0


async def test_a_review_ends_the_job_and_goes_to_the_review_topic(api: Api) -> None:
    blocked = next(sample for sample in posts("s") if sample.text.startswith("Lightly used"))
    made = await post(api, json.loads(blocked.model_dump_json()))
    asked = {
        "verdict_id": made["verdict_id"],
        "decision": "allow",
        "policies": [{"policy_id": "weapon_sale", "violated": False}],
        "reason": "a toy",
        "reviewer": "an\0na",
    }
    async with api.caller() as http:
        async with http.post("/v1/reviews", json=asked) as answer:
            assert answer.status == 201
            told = await answer.json()
        assert (told["reviewer"], told["post_id"], told["decision"]) == ("key:tests/an\0na", made["post_id"], "allow")
        async with http.post("/v1/reviews", json={**asked, "verdict_id": "none"}) as answer:
            assert await problem(answer) == (404, "not_found")
    async with api.context.database.connect() as connection:
        topic = select(outbox.c.topic).where(outbox.c.entry_id == told["review_id"])
        assert (await connection.execute(topic)).scalar_one() == api.context.settings.kafka.review_topic


async def test_a_job_that_is_decided_is_refused_unless_one_more_review_is_meant(api: Api) -> None:
    made = await post(api, {"post_id": "p", "images": [{"url": "https://127.0.0.1/gone.png"}]})
    assert made["decision"] == "abstain"
    asked = {"verdict_id": made["verdict_id"], "decision": "allow"}
    async with api.caller() as http:
        async with http.post("/v1/reviews", json=asked) as answer:
            assert answer.status == 201
        async with http.post("/v1/reviews", json=asked) as answer:
            assert await problem(answer) == (409, "taken")
        async with http.post("/v1/reviews", json={**asked, "further": True}) as answer:
            assert answer.status == 201
    async with api.context.database.connect() as connection:
        assert (await connection.execute(select(jobs.c.state))).scalar_one() == "decided"


@ON_SQLITE
@pytest.mark.timeout(300)
async def test_one_post_has_one_verdict_id_by_http_by_kafka_and_by_the_command_line(
    kafka: str, database: AsyncEngine, database_url: str, judge: Judge, tmp_path: Path
) -> None:
    topics = kafka_settings(kafka)
    await create(topics, partitions=1, replication=1)
    body = {
        "post_id": "p-1",
        "revision": 3,
        "surface": "feed",
        "text": "九成新，价格私聊",
        "images": [{"data": make_image()}],
    }
    settings = console_settings(database_url, kafka=topics, judging_backend="local")
    async with running(database, settings, judge) as api:
        sending = asyncio.create_task(OutboxSender(api.context).run())
        by_http = await post(api, body)

        async def on_the_topic() -> bool:
            return len([record async for record in read(topics, topics.output_topic)]) == 1

        await eventually(on_the_topic, "the verdict is on its topic", 60)
        sending.cancel()
    (published,) = [record async for record in read(topics, topics.output_topic)]
    assert json.loads(published.value) == by_http
    assert published.key == b"p-1"
    headers = dict(published.headers)
    assert (headers["ce_id"], headers["ce_type"]) == (by_http["verdict_id"].encode(), b"moderation.verdict.v1")
    assert headers["traceparent"].split(b"-")[1] == by_http["trace_id"].encode()

    record = Record(topics.input_topic, b"p-1", json.dumps(body).encode())
    await publish(topics, [record])
    async with working(topics, judge):

        async def judged() -> bool:
            return len([record async for record in read(topics, topics.output_topic)]) == 2

        await eventually(judged, "the worker's verdict", 60)
    by_kafka = [json.loads(record.value) async for record in read(topics, topics.output_topic)][1]

    (tmp_path / "a.png").write_bytes(base64.b64decode(make_image()))
    line = json.dumps({**body, "images": [{"url": "file:a.png"}]})
    (tmp_path / "posts.jsonl").write_text(line + "\n", encoding="utf-8")
    code, out, said = await moderation("judge", str(tmp_path / "posts.jsonl"), env=environment())
    assert code == 0, said
    assert [json.loads(out)["verdict_id"], by_kafka["verdict_id"]] == [by_http["verdict_id"]] * 2
