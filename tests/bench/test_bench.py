"""`moderation bench`: what it prints, and that what it compares is alike. No figure is held to a bound here."""

import json

import pytest

from moderation_service.bench import BENCHES, built
from moderation_service.bench.bare import bare_loop
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from tests.line.service import kafka_settings, moderation


def beside_the_figures(printed: dict[str, object]) -> set[str]:
    return {"machine", "versions", "command", "seed", "ratio"} - printed.keys()


async def test_a_bench_that_is_not_there_is_wrong_usage_and_the_answer_names_those_that_are() -> None:
    code, out, err = await moderation("bench", "nothing")
    assert (code, out) == (2, "")
    assert err == f"moderation: bench nothing: no such bench; one of {', '.join(built())}\n"
    assert built().keys() <= BENCHES.keys()


async def test_help_lists_the_benches() -> None:
    code, out, _ = await moderation("bench", "--help")
    assert code == 0
    assert all(name in out for name in built())


@pytest.mark.timeout(300)
async def test_cache_judges_each_content_once_with_the_bundled_model() -> None:
    code, out, err = await moderation("bench", "cache", "--posts", "10", "--seed", "3")
    assert code == 0, err
    printed = json.loads(out)
    assert not beside_the_figures(printed)
    assert printed["judged_of_duplicates_80"] == 6  # two of ten, in three rounds
    assert printed["ratio"].keys() == {"duplicates_80"}
    assert printed["command"] == "moderation bench cache --posts 10 --seed 3"
    assert printed["machine"].keys() >= {"cpu", "cores", "memory_bytes"}
    assert printed["versions"].keys() >= {"moderation-service", "python", "torch", "transformers", "aiokafka"}


@pytest.mark.timeout(120)
async def test_linger_counts_transactions_with_and_without_it(kafka: str) -> None:
    code, out, err = await moderation("bench", "linger", "--seconds", "1", "--bootstrap-servers", kafka)
    assert code == 0, err
    printed = json.loads(out)
    assert not beside_the_figures(printed)
    assert printed["posts"] == 24
    assert list(printed["linger_ms"]) == ["0", "200"]
    assert all(figures["transactions_per_second"] > 0 for figures in printed["linger_ms"].values())


@pytest.mark.timeout(120)
async def test_pipeline_works_through_all_posts_with_logs(kafka: str) -> None:
    code, out, err = await moderation("bench", "pipeline", "--posts", "200", "--bootstrap-servers", kafka)
    assert code == 0, err
    printed = json.loads(out)
    assert not beside_the_figures(printed)
    assert printed["ratio"].keys() == {"bare_loop"}
    assert printed["log_lines"] == 3 * 200
    assert printed["verdict_bytes"] > 2000


async def test_the_bare_loop_emits_what_it_is_given_once_with_its_offsets(kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=3, replication=1)
    posts = [Record(settings.input_topic, f"p-{n}".encode(), b"{}") for n in range(700)]
    outputs = {
        post.key: Record("", post.key, b"verdict of " + post.key, [("a", post.key)]) for post in posts if post.key
    }
    await publish(settings, posts)
    assert await bare_loop(settings, outputs, len(posts)) > 0
    found = [(record.key, record.value, list(record.headers)) async for record in read(settings, settings.output_topic)]
    wanted = [(output.key, output.value, output.headers) for output in outputs.values()]
    assert sorted(found) == sorted(wanted)
    await publish(settings, [Record(settings.input_topic, b"p-1", b"{}")])
    assert await bare_loop(settings, outputs, 1) > 0
    assert len([record async for record in read(settings, settings.output_topic)]) == len(posts) + 1
