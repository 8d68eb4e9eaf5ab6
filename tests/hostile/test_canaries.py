"""Marked words, images, authors, keys and addresses are in no log line, metric, trace or error, whatever fails."""

import asyncio
import base64
import json
import re
import sys
from asyncio.subprocess import PIPE
from urllib.request import urlopen

import pytest

from moderation_service.bench.local_kafka import free_port
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from tests.hostile.canaries import AUTHOR, CANARIES, ENCODED, METADATA, POISON, QUERY, TEXT, post
from tests.line.service import environment, kafka_settings, worker
from tests.line.traffic import found

READING = ("not_json", "wrong_schema", "wrong_content_type", "wrong_envelope")


def leaked(shown: str) -> list[str]:
    """Each line with one of them in it."""
    return [line for line in shown.splitlines() if any(canary in line for canary in CANARIES)]


async def told(*arguments: str) -> tuple[str, str]:
    """What the process of canaries writes: standard output and error."""
    command = (sys.executable, "-W", "always", "-m", "tests.hostile.canaries", *arguments)
    process = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=PIPE, stderr=PIPE)
    out, err = (written.decode() for written in await process.communicate())
    assert process.returncode == 0, err[-2000:]
    return out, err


@pytest.mark.timeout(170)
async def test_whatever_fails_nothing_of_a_post_and_no_secret_is_told() -> None:
    out, err = await told("json")
    assert leaked(out) == []
    assert leaked(err) == []
    # and all of it did fail
    letters = set(re.findall(r"'dlq.errors.reason', '(\w+)'", out))
    statuses = set(re.findall(r'moderation_images_total{outcome="(\w+)"}', out))
    retried = set(re.findall(r'moderation_retries_total{reason="(\w+)"}', out))
    assert letters == {*READING, "internal_error", "engine_error"}
    assert statuses == {"unavailable", "refused", "undecodable", "judged"}
    assert {"engine_away", "server_refused", "server_error"} <= retried
    assert "refused (status 400)" in err
    assert "engine.api_key: the server refuses it (status 401)" in err


@pytest.mark.timeout(170)
async def test_a_terminal_shows_no_more() -> None:
    out, err = await told("console", "records", "engines")
    assert leaked(out) == []
    assert leaked(err) == []
    assert "a post could not be judged" in err


@pytest.mark.timeout(170)
async def test_the_service_at_work_tells_nothing_of_a_post(kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=1, replication=1)
    images = ({"url": f"https://10.0.0.1/a.png?{QUERY}"}, {"data": ENCODED})
    values = [*POISON, *(post({"data": image}) for image in (ENCODED, _PNG)), post(*images), post()]
    headers = [("ce_specversion", TEXT.encode())], [("content-type", TEXT.encode())], [("traceparent", TEXT.encode())]
    records = [Record(settings.input_topic, b"k", value, []) for value in values]
    records += [Record(settings.input_topic, b"k", post(), theirs) for theirs in headers]
    await publish(settings, records)
    port = free_port()
    talkative = {"MODERATION_LOGGING__LEVEL": "DEBUG", "MODERATION_OPS__PORT": str(port)}
    async with worker(environment(settings, **talkative)) as running:
        while True:
            seen = await found(settings)
            if (seen.verdicts + seen.dead_letters).total() >= len(records):
                break
            assert running.process.returncode is None, running.lines[-5:]
            await asyncio.sleep(0.5)
        metrics = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
        assert await running.stop() == 0
    told = "".join(running.lines)
    assert told.count('"post"') >= len(records)
    assert leaked(told) == []
    assert leaked(metrics) == []
    assert 'moderation_dlq_messages_total{reason="not_json"}' in metrics
    for value in seen.verdict_values:
        verdict = json.loads(value)
        assert (verdict.pop("author_id"), verdict.pop("metadata")) == (AUTHOR, {METADATA: [METADATA]})
        assert leaked(json.dumps(verdict)) == []


_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + TEXT.encode()).decode()
