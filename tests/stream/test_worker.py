"""The worker against a real Kafka."""

import asyncio
import gc
import json
import random
import time
from collections import defaultdict
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.record import default_records
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.backoff import Backoff
from moderation_service.cli.dlq import LetterFilter, redrive
from moderation_service.contracts.dead_letter import DeadLetter, DeadLetterReference
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Misconfigured, Transient
from moderation_service.kafka import clients, topics
from moderation_service.kafka.aiokafka_workarounds import FetchBuffer
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.kafka.topic_io import Record, read
from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_manager import PartitionManager
from moderation_service.stream.polling import Polled
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.resume_offset import ResumeOffset, ResumeOffsetFinder
from moderation_service.telemetry.health import Health
from tests.stream.support import (
    FakeJudge,
    Running,
    Seen,
    eventually,
    everything,
    kafka_settings,
    make_topics,
    post_record,
    prepared,
    published,
    running,
    send,
)

pytestmark = pytest.mark.timeout(90)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"moderation_{name}", labels) or 0.0


def letters(seen: Seen) -> dict[bytes, DeadLetter]:
    """Dead letters by key."""
    found: dict[bytes, DeadLetter] = {}
    for record in seen.dead:
        headers = [(name, value) for name, value in record.headers if name.startswith("dlq.")]
        found[record.key] = DeadLetter.from_headers(headers)
    return found


def names(count: int) -> list[str]:
    return sorted(f"p{number}" for number in range(count))


async def test_every_post_becomes_one_verdict(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 500)
    async with running(settings, FakeJudge()) as work:
        seen = await published(settings, 500)
        assert work.health.joined
        assert work.health.live
        assert not work.health.not_ready
    assert seen.judged == names(500)
    assert not seen.dead
    assert work.health.draining


async def test_verdicts_of_a_partition_keep_the_order_of_its_posts(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 200, partitions=1)
    rng = random.Random(5)

    async def at_random(_: Post) -> None:
        await asyncio.sleep(rng.uniform(0, 0.05))

    async with running(settings, FakeJudge(before=at_random)):
        seen = await published(settings, 200)
    assert [record.key.decode() for record in seen.verdicts] == [f"p{number}" for number in range(200)]


async def test_five_kinds_of_poison_become_dead_letters_with_their_bytes_and_reason(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique)
    topic = settings.input_topic
    bad = {
        "not_json": Record(topic, b"not_json", b"\x00\xff", [("mine", b"kept")]),
        "wrong_schema": Record(topic, b"wrong_schema", b'{"post_id": 17, "text": "x"}'),
        "wrong_schema_2": Record(topic, b"wrong_schema_2", b'{"post_id": "p"}'),
        "wrong_content_type": Record(topic, b"wrong_content_type", b"<post/>", [("content-type", b"text/xml")]),
        "not_json_2": Record(topic, b"not_json_2", b'{"post_id": "p", "text": "cut'),
    }
    await send(settings, [*bad.values(), post_record(topic, "good")])
    before = sample("dlq_messages_total", reason="not_json")
    async with running(settings, FakeJudge()):
        seen = await published(settings, 6)
    assert seen.judged == ["good"]
    for key, letter in letters(seen).items():
        name = key.decode()
        assert name.startswith(letter.reason)
        assert (letter.topic, letter.consumer_group) == (topic, settings.group)
        (record,) = (record for record in seen.dead if record.key == key)
        assert record.value == bad[name].value
    (first,) = (record for record in seen.dead if record.key == b"not_json")
    assert first.headers[0] == ("mine", b"kept")
    assert len(seen.dead) == 5
    assert sample("dlq_messages_total", reason="not_json") - before == 2


async def test_records_of_3_mb_pass_and_one_that_unpacks_too_large_is_a_dead_letter_by_reference(
    kafka: str, unique: str
) -> None:
    settings = await prepared(kafka, unique)
    large = "x" * (3 * 1024 * 1024)
    await send(settings, [post_record(settings.input_topic, f"p{number}", large) for number in range(4)])
    bomb = b"\x00" * (record_limit(settings) + 1)  # a few KB on the wire
    roomy = settings.model_copy(update={"max_message_bytes": 64 * 1024 * 1024})
    await send(roomy, [Record(settings.input_topic, b"bomb", bomb), post_record(settings.input_topic, "p4")])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 6)
    assert seen.judged == names(5)
    (dead,) = seen.dead
    assert letters(seen)[b"bomb"].by_reference
    assert DeadLetterReference.model_validate_json(dead.value).size == len(bomb)


async def test_what_inflates_without_end_is_never_inflated_and_a_post_over_the_bound_not_judged(
    kafka: str, unique: str
) -> None:
    bounds = {"max_message_bytes": 128 * 1024, "max_in_flight_bytes": 1024 * 1024}
    settings = await prepared(kafka, unique, partitions=1, **bounds)
    roomy = settings.model_copy(update={"max_message_bytes": 64 * 1024 * 1024})
    large = post_record(settings.input_topic, "large", "x" * 140_000)
    for record in (post_record(settings.input_topic, "bomb", "x" * 16 * 1024 * 1024), large):
        await send(roomy, [record])
    await send(settings, [post_record(settings.input_topic, "good")])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 3)
    assert seen.judged == ["good"]
    found = letters(seen)
    assert {key: letter.reason for key, letter in found.items()} == dict.fromkeys(
        [b"bomb", b"large"], "record_too_large"
    )
    (bomb,) = (record.value for record in seen.dead if record.key == b"bomb")
    reference = DeadLetterReference.model_validate_json(bomb)
    assert reference.size == len(post_record("", "bomb", "x" * 16 * 1024 * 1024).value or b"")
    assert reference.sha256 is None, "the record was not read whole"
    assert not found[b"large"].by_reference, "it fits the dead-letter topic, and can be looked at there"


async def test_a_deleted_post_is_a_null_for_its_key_and_one_without_a_key_a_dead_letter(
    kafka: str, unique: str
) -> None:
    settings = await prepared(kafka, unique, 3)
    await send(settings, [Record(settings.input_topic, b"gone", None)])
    sender = clients.producer(settings)
    await sender.start()
    batch = sender.create_batch()
    batch.append(timestamp=None, key=None, value=None)
    await (await sender.send_batch(batch, settings.input_topic, partition=0))
    await sender.stop()
    async with running(settings, FakeJudge()):
        seen = await published(settings, 5)
    assert seen.deleted == ["gone"]
    assert seen.erased == [b"gone"], "its dead letters go too"
    assert [letter.reason for letter in letters(seen).values()] == ["no_key"]


async def test_no_more_is_in_flight_than_allowed(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 300, max_in_flight_posts=12)
    judge = FakeJudge(delay_s=0.02)
    async with running(settings, judge):
        seen = await published(settings, 300)
    assert seen.judged == names(300)
    assert 6 <= judge.most <= 12


async def test_no_more_bytes_are_in_flight_than_allowed(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, max_in_flight_bytes=1024 * 1024, max_message_bytes=256 * 1024)
    text = "x" * 100_000
    await send(settings, [post_record(settings.input_topic, f"p{number}", text) for number in range(60)])
    judge = FakeJudge(delay_s=0.02)
    async with running(settings, judge):
        seen = await published(settings, 60)
    assert seen.judged == names(60)
    assert 300_000 <= judge.most_bytes <= 1024 * 1024


async def test_a_partition_whose_post_never_ends_does_not_stop_the_others(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, max_in_flight_posts=12)
    await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(300)])
    release = asyncio.Event()
    stuck = "p0"

    async def wait(post: Post) -> None:
        if post.post_id == stuck:
            await release.wait()

    async with running(settings, FakeJudge(before=wait)):
        others = await asyncio.wait_for(_partition_sizes(settings, stuck), 20)
        seen = await published(settings, others)
        assert stuck not in seen.judged
        release.set()
        seen = await published(settings, 300)
    assert seen.judged == names(300)


async def _partition_sizes(settings: KafkaSettings, stuck: str) -> int:
    """How many records lie in the partitions without `stuck`."""
    from moderation_service.kafka.topic_io import read  # noqa: PLC0415

    by_partition: dict[int, list[bytes]] = defaultdict(list)
    async for record in read(settings, settings.input_topic):
        by_partition[record.partition].append(record.key)
    return sum(len(keys) for keys in by_partition.values() if stuck.encode() not in keys)


async def test_intake_pauses_while_too_much_is_in_flight_and_resumes(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 100, max_in_flight_posts=6)
    go = asyncio.Event()

    async def wait(_: Post) -> None:
        await go.wait()

    judge = FakeJudge(before=wait)
    before = sample("backpressure_seconds_total")
    async with running(settings, judge) as work:
        await eventually(lambda: judge.now == 6, "the bound is reached")
        await eventually(lambda: sample("backpressure_seconds_total") - before > 1, "backpressure is counted")
        assert judge.now == 6
        assert sample("messages_in_process") == 6
        assert work.health.live
        go.set()
        seen = await published(settings, 100)
    assert seen.judged == names(100)


async def test_a_second_worker_takes_its_part_and_nothing_is_judged_into_two_verdicts(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, partitions=4, max_in_flight_posts=20)
    first, second = FakeJudge(delay_s=0.05), FakeJudge(delay_s=0.05)
    count = 0

    async def more() -> None:
        nonlocal count
        posts = [post_record(settings.input_topic, f"p{number}") for number in range(count, count + 100)]
        count += await send(settings, posts)
        await eventually(
            lambda: len(first.seen) + len(second.seen) > count - 40, "some of the last posts are in flight"
        )

    async with running(settings, first):
        await more()
        async with running(settings, second):
            while len(second.seen) <= 50:  # however long it takes to join, posts are in flight when it does
                await more()
            await published(settings, count // 2)
        seen = await published(settings, count)
    assert seen.judged == names(count)


async def test_stopping_finishes_what_is_in_flight_and_takes_nothing_more(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 300, max_in_flight_posts=30)
    judge = FakeJudge(delay_s=0.5)
    async with running(settings, judge) as work:
        await eventually(lambda: judge.now == 30, "work is in flight")
        begun = time.monotonic()
        work.stop.set()
        await work.task
        assert time.monotonic() - begun < 5
    seen = await published(settings, len(judge.seen))  # a commit is visible a little after it is acknowledged
    assert seen.judged == sorted(judge.seen)
    assert len(seen.judged) < 300
    async with running(settings, FakeJudge()):
        seen = await published(settings, 300)
    assert seen.judged == names(300)


async def test_stopping_abandons_what_does_not_finish_in_time(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 50, drain_timeout_s=2.0)
    judge = FakeJudge(delay_s=3600)
    async with running(settings, judge) as work:
        await eventually(lambda: judge.now > 20, "work is in flight")
        begun = time.monotonic()
        work.stop.set()
        await work.task
        assert time.monotonic() - begun < 4
    assert judge.now == 0
    async with running(settings, FakeJudge()):
        seen = await published(settings, 50)
    assert seen.judged == names(50)


async def test_an_engine_that_is_away_holds_the_partitions_and_keeps_the_membership(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 40, session_timeout_s=2.0)
    back = asyncio.Event()

    async def away(_: Post) -> None:
        if not back.is_set():
            raise Transient("engine_away", "connection refused")

    revoked = sample("rebalances_total", event="revoked")
    async with running(settings, FakeJudge(before=away)) as work:
        work.worker._record_processor.backoff = Backoff(0.2, 1.0)
        await eventually(lambda: work.health.not_ready == ["engine"], "readiness names the engine")
        await asyncio.sleep(4)  # two sessions: the membership must outlive them
        assert sample("rebalances_total", event="revoked") == revoked
        assert (await everything(settings)).total == 0
        back.set()
        seen = await published(settings, 40)
        await eventually(lambda: not work.health.not_ready, "ready again")
    assert seen.judged == names(40)
    assert not seen.dead


async def test_a_fatal_judge_stops_the_worker_after_releasing_what_is_finished(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 30, partitions=1)

    async def breaks(post: Post) -> None:
        if post.post_id == "p20":
            await asyncio.sleep(1)
            raise Fatal("the model is gone")
        if post.post_id == "p25":
            await asyncio.sleep(3600)

    async with running(settings, FakeJudge(before=breaks)) as work:
        with pytest.raises(Fatal, match="the model is gone"):
            await asyncio.wait_for(asyncio.shield(work.task), 20)
    assert (await published(settings, 20)).judged == names(20)


async def test_a_bug_in_judging_one_post_is_a_dead_letter_and_the_rest_goes_on(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 30)

    async def breaks(post: Post) -> None:
        if post.post_id == "p7":
            raise KeyError(post.text)

    async with running(settings, FakeJudge(before=breaks)):
        seen = await published(settings, 30)
    assert [letter.reason for letter in letters(seen).values()] == ["internal_error"]
    assert [record.key for record in seen.dead] == [b"p7"]
    assert len(seen.judged) == 29


async def test_at_least_once_publishes_every_verdict_too(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 200, delivery="at_least_once")
    async with running(settings, FakeJudge()):
        seen = await published(settings, 200)
    assert seen.judged == names(200)
    async with running(settings, FakeJudge()) as again:
        await eventually(lambda: again.health.joined, "the next worker is in the group")
        await send(settings, [post_record(settings.input_topic, "later")])
        seen = await published(settings, 201)
    assert seen.judged == sorted([*names(200), "later"])


async def test_posts_written_in_transactions_are_read_past_markers_and_aborted_ones(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, partitions=1)
    sender = clients.producer(settings, f"{unique}.sender")
    await sender.start()
    for number in range(10):
        await sender.begin_transaction()
        record = post_record(settings.input_topic, f"p{number}")
        await sender.send_and_wait(record.topic, record.value, record.key)
        await (sender.abort_transaction() if number % 3 == 2 else sender.commit_transaction())
    await sender.stop()
    async with running(settings, FakeJudge()):
        seen = await published(settings, 7)
        await eventually(
            lambda: sample("consumer_lag", topic=settings.input_topic, partition="0") == 0, "the lag goes to 0"
        )
    assert seen.judged == [f"p{number}" for number in range(10) if number % 3 != 2]


async def test_a_record_below_what_was_read_opens_its_partition_anew(kafka: str, unique: str) -> None:
    """As when the topic was made anew."""
    settings = await prepared(kafka, unique, 5, partitions=1)
    judge = FakeJudge()
    async with running(settings, judge) as work:
        await published(settings, 5)
        manager = work.worker._manager
        assert manager is not None
        (processor,) = manager.processors.values()
        stale = ConsumerRecord(settings.input_topic, 0, 0, 0, 0, b"p0", b"{}", None, 1, 2, ())
        manager.receive(Polled({processor.partition: [stale]}))
        await eventually(lambda: manager.processors[processor.partition] is not processor, "another processor begins")
        await send(settings, [post_record(settings.input_topic, "p5")])
        seen = await published(settings, 6)
    assert seen.judged == [f"p{number}" for number in range(6)]


async def test_records_that_come_before_their_partition_is_open_are_not_taken_and_fetched_again(
    kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await prepared(kafka, unique)
    await _pin(settings)
    await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(50)])
    gate, early = asyncio.Event(), list[object]()
    real_find, real_receive = ResumeOffsetFinder.find, PartitionManager.receive

    async def slow(self: ResumeOffsetFinder, *, opening: bool) -> ResumeOffset:
        await gate.wait()
        return await real_find(self, opening=opening)

    def noting(self: PartitionManager, polled: Polled) -> None:
        early.extend(() if gate.is_set() else polled.batches)
        real_receive(self, polled)

    monkeypatch.setattr(ResumeOffsetFinder, "find", slow)
    monkeypatch.setattr(PartitionManager, "receive", noting)
    # as if the pause in the callback had come too late
    monkeypatch.setattr("aiokafka.AIOKafkaConsumer.pause", lambda *_: None)
    async with running(settings, FakeJudge()) as work:

        def fetched() -> int:
            its = work.worker._manager
            return len(FetchBuffer(its._consumer).partitions) if its is not None and its.processors else 0

        await eventually(lambda: fetched() == 3, "records of all partitions come too early")
        assert (await everything(settings)).total == 0
        assert not early
        gate.set()
        seen = await published(settings, 50)
    assert seen.judged == names(50)


async def _pin(settings: KafkaSettings) -> None:
    """Let there be committed offsets, from which a consumer fetches as soon as it has partitions."""
    async with running(settings, FakeJudge()) as work:
        await all_open(work)


async def all_open(work: Running, processors: int = 3) -> None:
    """Wait until every processor is open."""

    def they_are() -> bool:
        manager = work.worker._manager
        return manager is not None and sum(processor.is_open for processor in manager.processors.values()) == processors

    await eventually(they_are, "open processors")


async def test_a_header_whose_name_is_not_utf8_does_not_hold_its_partition(kafka: str, unique: str) -> None:
    """Clients in Go and C can write one; aiokafka raises on it for ever."""
    settings = await prepared(kafka, unique, 40, partitions=2)
    await _send_bad_header(settings, ["a", "b", "c"])
    await send(settings, [post_record(settings.input_topic, f"later{number}") for number in range(20)])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 63)
    assert seen.judged == sorted([*names(40), "a", "b", "c", *(f"later{number}" for number in range(20))])
    assert not seen.dead


async def test_such_a_header_while_every_partition_is_full_leaves_the_loop_free(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 10, partitions=1, max_in_flight_posts=5)
    await _send_bad_header(settings, ["a", "b", "c"])
    await send(settings, [post_record(settings.input_topic, f"later{number}") for number in range(20)])
    go = asyncio.Event()

    async def wait(_: Post) -> None:
        await go.wait()

    judge = FakeJudge(before=wait)
    async with running(settings, judge) as work:
        await eventually(lambda: judge.now == 5, "the processor is full")
        begun, turns = time.monotonic(), 0
        while time.monotonic() - begun < 1:
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 20, "other tasks have their turn"
        assert work.health.live
        go.set()
        seen = await published(settings, 33)
    assert len(seen.judged) == 33


async def test_records_out_of_order_stop_the_worker_with_one_line(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 5, partitions=1)
    async with running(settings, FakeJudge()) as work:
        await published(settings, 5)
        manager = work.worker._manager
        assert manager is not None
        (processor,) = manager.processors.values()
        processor.position = 0
        twice = ConsumerRecord(settings.input_topic, 0, 0, 0, 0, b"p0", b"{}", None, 1, 2, ())
        with pytest.raises(Fatal, match="offset 0 taken after 4"):
            manager.receive(Polled({processor.partition: [twice]}))


class _NotUtf8(str):
    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


async def _send_bad_header(settings: KafkaSettings, post_ids: list[str]) -> None:
    """One batch to partition 0, the second record with a header that no strict client reads."""
    sender = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
    await sender.start()
    batch = sender.create_batch()
    pure = {"is_transactional": 0, "producer_id": -1, "producer_epoch": -1, "base_sequence": 0, "batch_size": 100_000}
    batch._builder = default_records._DefaultRecordBatchBuilderPy(2, 0, **pure)
    for number, post_id in enumerate(post_ids):
        record = post_record(settings.input_topic, post_id)
        headers = [(_NotUtf8("name"), b"1")] if number == 1 else []
        batch.append(timestamp=int(time.time() * 1000), key=record.key, value=record.value, headers=headers)
    await (await sender.send_batch(batch, settings.input_topic, partition=0))
    await sender.stop()


async def test_the_log_line_of_a_post_says_all_but_its_words(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique)
    secret = "the words of the post"
    await send(settings, [post_record(settings.input_topic, "p0", secret, author_id="the-author")])
    await send(
        settings, [Record(settings.input_topic, b"bad", json.dumps({"post_id": "p1", "text": [secret]}).encode())]
    )
    with capture_logs() as logged:
        async with running(settings, FakeJudge()):
            await published(settings, 2)
    lines = {line["outcome"]: line for line in logged if line["event"] == "post"}
    assert set(lines) == {"verdict", "dead_letter"}
    line = lines["verdict"]
    assert (line["post_id"], line["decision"], line["tokens"], line["offset"]) == ("p0", "allow", 7, 0)
    assert {"trace.id", "partition", "queue_ms", "score_ms", "total_ms", "end_to_end_ms"} <= set(line)
    assert (lines["dead_letter"]["reason"], lines["dead_letter"]["post_id"]) == ("wrong_schema", "p1")
    assert secret not in str(logged)
    assert "the-author" not in str(logged)


async def test_events_are_read_and_named_in_the_log(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique)
    event = [("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"/shop"), ("ce_type", b"post.made")]
    good, bad = (post_record(settings.input_topic, post_id) for post_id in ("good", "bad"))
    await send(settings, [replace(good, headers=event), replace(bad, headers=event[:2])])
    with capture_logs() as logged:
        async with running(settings, FakeJudge()):
            seen = await published(settings, 2)
    assert seen.judged == ["good"]
    assert letters(seen)[b"bad"].reason == "wrong_envelope"
    lines = {line["post_id"]: line for line in logged if line["event"] == "post"}
    assert lines["good"]["ce_id"] == "e-1"
    assert "ce_id" not in lines["bad"]


async def test_posts_of_several_topics_are_judged_and_each_partition_is_told_by_its_topic(
    kafka: str, unique: str
) -> None:
    settings = kafka_settings(kafka, unique, priority_topics=(urgent := f"{unique}.urgent",))
    await make_topics(settings, 2)
    records = [post_record(topic, f"{topic}-{n}") for topic in settings.input_topics for n in range(10)]
    await send(settings, [*records, Record(urgent, b"bad", b"no JSON")])

    def told() -> bool:
        return all(sample("partition_committed_offset", topic=name, partition="1") for name in settings.input_topics)

    async with running(settings, FakeJudge()):
        seen = await published(settings, 21)
        await eventually(told, "both topics have a gauge")
    assert sorted(seen.judged) == sorted(record.key.decode() for record in records if record.key)
    assert letters(seen)[b"bad"].topic == urgent
    assert await redrive(settings, LetterFilter(), 1) == 0
    assert [record.value async for record in read(settings, urgent)].count(b"no JSON") == 2, "it went where it was from"


async def test_gauges_of_a_partition_go_with_it(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 10)
    place = {"topic": settings.input_topic, "partition": "2"}
    async with running(settings, FakeJudge()):
        await published(settings, 10)
        await eventually(lambda: sample("assigned_partitions") == 3, "three partitions")
        await eventually(
            lambda: REGISTRY.get_sample_value("moderation_partition_committed_offset", place) is not None,
            "a gauge a partition",
        )
    assert sample("assigned_partitions") == 0
    assert REGISTRY.get_sample_value("moderation_partition_committed_offset", place) is None
    assert sample("messages_in_process") == 0


async def test_latest_begins_where_the_topic_ended_when_the_partition_first_opened(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 10, auto_offset_reset="latest")
    async with running(settings, FakeJudge()) as work:
        await all_open(work)
    await send(settings, [post_record(settings.input_topic, "while away")])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 1)
    assert seen.judged == ["while away"]


async def test_a_missing_input_topic_shows_until_it_is_made_and_is_then_read(
    kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_METADATA_AGE_MS", 1000)
    settings = kafka_settings(kafka, unique)
    with capture_logs() as logged:
        async with running(settings, FakeJudge()) as work:
            await eventually(lambda: work.health.not_ready == ["input topic missing"], "readiness says so")
            outputs = (settings.output_topic, settings.dead_letter_topic, settings.escalation_topic)
            used = (settings.input_topic, *outputs, settings.banks_topic)
            warned = [line["difference"] for line in logged if line["log_level"] == "warning" and "difference" in line]
            assert warned == [f"{name}: missing" for name in used]
            await make_topics(settings)
            await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(20)])
            seen = await published(settings, 20)
            await eventually(lambda: not work.health.not_ready, "ready")
    assert seen.judged == names(20)


async def test_topics_that_must_not_be_described_stop_nothing(
    kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> list[str]:
        raise Fatal("topic x: it can't be described (TopicAuthorizationFailedError)")

    monkeypatch.setattr(topics, "check", refused)
    settings = await prepared(kafka, unique, 5)
    with capture_logs() as logged:
        async with running(settings, FakeJudge()):
            await published(settings, 5)
    assert any("TopicAuthorizationFailedError" in str(line.get("error")) for line in logged)


async def test_an_unreachable_broker_at_the_start_is_fatal_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation_service.kafka.clients.BROKER_TIMEOUT_S", 1.0)
    settings = kafka_settings("127.0.0.1:1", "nobody")
    with pytest.raises(Fatal, match=r"kafka\.bootstrap_servers 127\.0\.0\.1:1: no broker answers") as refusal:
        await _run_briefly(settings)
    assert not isinstance(refusal.value, Misconfigured)


async def test_stopping_while_the_broker_is_looked_for_ends_at_once() -> None:
    async with running(kafka_settings("127.0.0.1:1", "nobody"), FakeJudge()) as work:
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        work.stop.set()
        await work.task
        assert time.monotonic() - begun < 2


async def _run_briefly(settings: KafkaSettings) -> None:
    from moderation_service.stream.worker import Worker  # noqa: PLC0415

    await Worker(settings, RecordProcessor(settings, FakeJudge()), Health()).run(asyncio.Event())


@pytest.mark.parametrize(("owner", "task"), [("_fetcher", "_fetch_task"), ("_coordinator", "_coordination_task")])
async def test_a_kafka_client_that_has_stopped_working_ends_the_worker(
    kafka: str, unique: str, owner: str, task: str
) -> None:
    settings = await prepared(kafka, unique, 3, partitions=1)
    async with running(settings, FakeJudge()) as work:
        await published(settings, 3)
        manager = work.worker._manager
        assert manager is not None
        getattr(getattr(manager._consumer, owner), task).cancel()
        with pytest.raises(Fatal, match="the Kafka client has stopped working"):
            await asyncio.wait_for(asyncio.shield(work.task), 20)


async def test_a_worker_leaves_the_garbage_collector_of_its_process_as_it_is(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, 1, partitions=1)
    before = gc.get_threshold(), gc.get_freeze_count()
    async with running(settings, FakeJudge()):
        await published(settings, 1)
        assert (gc.get_threshold(), gc.get_freeze_count()) == before
