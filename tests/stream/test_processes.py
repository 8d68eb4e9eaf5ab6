"""Workers as processes, killed and stopped at bad moments: every post has one verdict, none has two."""

import asyncio
import json
import random
import signal
import time
from pathlib import Path

import pytest

from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from tests.stream.processes import WorkerProcess, worker_processes
from tests.stream.support import Seen, eventually, everything, post_record, prepared, published, send
from tests.timing import slowness

pytestmark = pytest.mark.timeout(180)
LARGE = "x" * (3 * 1024 * 1024)


def poison(topic: str, number: int) -> Record:
    """Five kinds that can never be judged."""
    key = f"bad{number}".encode()
    kinds = (
        Record(topic, key, b"\x00\xff not json"),
        Record(topic, key, b'{"post_id": 17}'),
        Record(topic, key, b'{"post_id": "x", "text": "cut'),
        Record(topic, key, b"<post/>", [("content-type", b"application/xml")]),
        Record(topic, key, json.dumps({"post_id": "empty"}).encode()),
    )
    return kinds[number % len(kinds)]


def acceptance(topic: str) -> list[Record]:
    """500 records: 480 posts (half with images, some of 3 MB), 20 poison; and 4 deleted posts."""
    image = [{"data": "aGVsbG8=", "media_type": "image/png"}]
    posts = []
    for number in range(480):
        text = LARGE if number % 120 == 0 else "hello"
        posts.append(post_record(topic, f"p{number}", text, images=image if number % 2 else []))
    records = posts + [poison(topic, number) for number in range(20)]
    records += [Record(topic, f"gone{number}".encode(), None) for number in range(4)]
    random.Random(7).shuffle(records)
    return records


def assert_exactly_once(seen: Seen) -> None:
    assert seen.judged == sorted(f"p{number}" for number in range(480))
    assert sorted(record.key for record in seen.dead) == sorted(f"bad{number}".encode() for number in range(20))
    assert seen.deleted == [f"gone{number}" for number in range(4)]


async def with_records(kafka: str, unique: str, **fields: object) -> KafkaSettings:
    settings = await prepared(kafka, unique, **fields)
    await send(settings, acceptance(settings.input_topic))
    return settings


async def test_a_process_publishes_every_verdict_dead_letter_and_deletion_once(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    settings = await with_records(kafka, unique)
    with worker_processes() as processes:
        processes.append(WorkerProcess(settings, tmp_path / "log"))
        await published(settings, 504)
        processes[0].send(signal.SIGTERM)
        assert processes[0].wait(10) == 0
    assert_exactly_once(await everything(settings))


async def test_nothing_is_lost_or_doubled_when_one_of_two_workers_is_killed_three_times(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    settings = await with_records(kafka, unique, max_in_flight_posts=20, session_timeout_s=3.0)
    rng = random.Random(11)
    with worker_processes() as processes:
        processes += [WorkerProcess(settings, tmp_path / f"log{number}") for number in range(2)]
        for _ in range(3):
            await asyncio.sleep(rng.uniform(1.5, 3))
            victim = rng.randrange(2)
            processes[victim].kill()
            processes[victim] = WorkerProcess(settings, tmp_path / f"log{victim}")
        await published(settings, 504, patience_s=90)
        for process in processes:
            process.send(signal.SIGTERM)
        assert [process.wait(10) for process in processes] == [0, 0]
    assert_exactly_once(await everything(settings))


async def test_sigterm_under_load_exits_0_within_10_seconds_and_the_next_worker_goes_on(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    settings = await with_records(kafka, unique, max_in_flight_posts=20)
    with worker_processes() as processes:
        processes.append(WorkerProcess(settings, tmp_path / "first"))
        await published(settings, 50)
        begun = time.monotonic()
        processes[0].send(signal.SIGTERM)
        assert processes[0].wait(10) == 0
        assert time.monotonic() - begun < 10 * slowness()
        before = await everything(settings)
        processes.append(WorkerProcess(settings, tmp_path / "second"))
        await published(settings, 504)
    assert before.total < 504, "the load was gone before the signal"
    assert_exactly_once(await everything(settings))


async def test_a_worker_frozen_beyond_its_session_publishes_nothing_when_it_thaws(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    settings = await with_records(kafka, unique, max_in_flight_posts=20)
    with worker_processes() as processes:
        processes.append(WorkerProcess(settings, tmp_path / "zombie"))
        await published(settings, 30)
        processes[0].send(signal.SIGSTOP)
        processes.append(WorkerProcess(settings, tmp_path / "owner"))
        await eventually(
            lambda: "partition open" in processes[1].log.read_text(), "the second worker owns the partitions"
        )
        processes[0].send(signal.SIGCONT)
        await published(settings, 504, patience_s=60)
    assert_exactly_once(await everything(settings))
