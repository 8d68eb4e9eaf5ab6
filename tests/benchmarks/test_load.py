"""`moderation bench load`: late verdicts count from when the post was due, and the knee is where they begin."""

import asyncio
import json
import random
from pathlib import Path

import pytest

from benchmarks.worker import record_of, working
from moderation_service.bench.load import HALVINGS, RUNNING, Step, fleet, run, steps_to_the_knee
from moderation_service.bench.open_loop import Answered, open_loop
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings
from tests.line.service import environment, kafka_settings, moderation


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    found = kafka_settings(kafka)
    await create(found, partitions=3, replication=1)
    return found


def posts(settings: KafkaSettings, number: int) -> list[Record]:
    rng = random.Random(1)
    return [record_of(settings.input_topic, at, rng) for at in range(number)]


async def test_every_post_is_sent_at_its_time_and_its_own_verdict_counts(settings: KafkaSettings) -> None:
    due = [at / 100 for at in range(50)]
    async with working(settings), open_loop(settings) as loop:
        await publish(settings, [Record(settings.output_topic, b"of another", b"{}")])
        first = await loop.drive(posts(settings, 50), due)
        again = await loop.drive(posts(settings, 50), due)
    for answered in (first, again):
        assert len(answered.latency) == len(answered.late) == 50
        assert all(0 <= late < latency for late, latency in zip(answered.late, answered.latency, strict=True))
        assert answered.seconds > due[-1]


async def test_a_worker_that_stands_still_is_late_for_all_that_was_due_meanwhile(settings: KafkaSettings) -> None:
    due = [at / 20 for at in range(20)]
    async with open_loop(settings) as loop:
        begun = asyncio.get_running_loop().time()
        driving = asyncio.create_task(loop.drive(posts(settings, 20), due))
        await asyncio.sleep(due[-1])  # nobody works until the last one is due
        stood_still = asyncio.get_running_loop().time() - begun
        async with working(settings):
            answered = await driving
    assert [latency + when > stood_still - 0.01 for latency, when in zip(answered.latency, due, strict=True)] == [
        True
    ] * 20
    assert max(answered.late) < answered.latency[0]  # the loop itself went on


async def test_where_nobody_works_it_says_so(settings: KafkaSettings) -> None:
    async with open_loop(settings, silence_s=0.5) as loop:
        with pytest.raises(Fatal, match=rf"2 posts on {settings.input_topic} wait, and for 0.5 s no verdict came"):
            await loop.drive(posts(settings, 2), [0.0, 0.01])


async def test_a_topic_that_is_missing_is_named(kafka: str) -> None:
    settings = kafka_settings(kafka)
    with pytest.raises(Fatal, match=rf"topic {settings.output_topic}: missing; `moderation topics create` makes it"):
        async with open_loop(settings):
            pass


@pytest.mark.parametrize(("capacity", "first"), [(100.0, 8.0), (100.0, 500.0), (8.0, 8.0)])
async def test_the_knee_is_found_from_below_and_from_above(capacity: float, first: float) -> None:
    async def measure(rate: float) -> Step:
        """A queue of that capacity, where posts come evenly for 20 s."""
        behind = max(0.0, 1 / capacity - 1 / rate)
        latency = [1 / capacity + at * behind for at in range(int(20 * rate))]
        return Step(rate, Answered([0.0], latency, 20.0), within=0.5)

    steps = await steps_to_the_knee(measure, first)
    knee = max(step.rate for step in steps if step.holds)
    over = min(step.rate for step in steps if not step.holds)
    assert knee <= capacity * 1.03 < over * 1.03
    assert over - knee <= max(step.rate for step in steps) / 2**HALVINGS


async def test_a_worker_that_ends_before_it_is_ready_is_quoted(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_POLICIES__PATH", "/nowhere")
    with pytest.raises(Fatal, match=r"a worker ended with 2 before it was ready: .*/nowhere"):
        async with fleet(settings, workers=1, threads=1):
            pass


def test_what_can_not_be_driven_is_said_in_a_line(tmp_path: Path) -> None:
    (empty := tmp_path / "empty.jsonl").touch()
    (wrong := tmp_path / "wrong.jsonl").write_text('{"text": "without an id"}\n')
    with pytest.raises(Misconfigured, match="--rate, --seconds and --within should be over 0, --workers 0 or more"):
        run(rate=0)
    with pytest.raises(Misconfigured, match=rf"^bench load: {empty}: no posts in it$"):
        run(posts=empty)
    with pytest.raises(Misconfigured, match=rf"^bench load: {wrong}:1: post_id: Field required$"):
        run(posts=wrong)


@pytest.mark.timeout(300)
async def test_workers_that_run_already_are_driven_on_their_own_topics(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.model_dump(exclude_defaults=True).items():
        monkeypatch.setenv(f"MODERATION_KAFKA__{name.upper()}", value)
    async with working(settings):
        made = await asyncio.to_thread(run, workers=0, rate=500.0, seconds=0.25, within=0.5)
    assert made["fleets"].keys() == {RUNNING}
    assert made["fleets"][RUNNING]["most_verdicts_per_second"] > 0
    assert made["ratio"].keys() == {"knee_of_most"}


@pytest.mark.timeout(300)
async def test_the_knees_of_one_and_of_two_workers_with_the_bundled_model(kafka: str, tmp_path: Path) -> None:
    own = tmp_path / "posts.jsonl"
    own.write_text(json.dumps({"post_id": "p", "text": "A walk by the river"}))
    code, out, err = await moderation(
        *("bench", "load", "--rate", "200", "--seconds", "0.5", "--within", "0.5"),
        *("--posts", str(own), "--bootstrap-servers", kafka),
        env=environment(MODERATION_JUDGING__RESULT_CACHE_SIZE="0"),
    )
    assert code == 0, err
    printed = json.loads(out)
    assert printed.keys() >= {"ratio", "machine", "versions", "command", "seed", "within_s"}
    assert printed["ratio"].keys() == {"knee_of_most", "knee_over_one_worker"}
    assert printed["fleets"].keys() == {"1", "2"}
    for measured in printed["fleets"].values():
        rates = [step["rate"] for step in measured["steps"]]
        assert rates == sorted(rates)
        assert not measured["steps"][-1]["holds"]
        assert measured["knee"] == max((step["rate"] for step in measured["steps"] if step["holds"]), default=None)
        for step in measured["steps"]:
            latency = step["latency_ms"]
            assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
            assert step["posts"] == max(1, round(step["rate"] / 2))
