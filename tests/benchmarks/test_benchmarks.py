"""What the benchmarks print, and that what they compare is alike. No figure is held to a bound here."""

import shutil
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from benchmarks.pipeline import bare_loop
from moderation_service.bench.local_kafka import missing_tools
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.kafka.topics import create
from tests.benchmarks.running import figures_of
from tests.conftest import skip_or_fail
from tests.line.service import kafka_settings, moderation


async def test_a_bench_that_is_not_there_is_wrong_usage() -> None:
    code, out, err = await moderation("bench", "nothing")
    assert (code, out) == (2, "")
    assert err.startswith("moderation: ")
    assert "nothing" in err


async def test_help_lists_the_benches() -> None:
    code, out, _ = await moderation("bench", "--help")
    assert code == 0
    assert all(name in out for name in ("engine", "load"))


@pytest.mark.timeout(300)
async def test_cache_judges_each_content_once_with_the_bundled_model() -> None:
    printed = await figures_of("cache", "--posts", "10", "--seed", "3")
    assert printed["judged_of_duplicates_80"] == 6  # two of ten, in three rounds
    assert printed["ratio"].keys() == {"duplicates_80"}
    assert printed["command"] == "python -m benchmarks.cache --posts 10 --seed 3"
    assert printed["machine"].keys() >= {"cpu", "cores", "memory_bytes"}
    assert printed["versions"].keys() >= {"moderation-service", "python", "torch", "transformers", "aiokafka"}


@pytest.mark.timeout(120)
async def test_linger_counts_transactions_with_and_without_it(kafka: str) -> None:
    printed = await figures_of("linger", "--seconds", "1", "--bootstrap-servers", kafka)
    assert printed["posts"] == 24
    assert list(printed["linger_ms"]) == ["0", "200"]
    assert all(figures["transactions_per_second"] > 0 for figures in printed["linger_ms"].values())


@pytest.mark.timeout(120)
async def test_pipeline_works_through_all_posts_with_logs(kafka: str) -> None:
    printed = await figures_of("pipeline", "--posts", "200", "--bootstrap-servers", kafka)
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


@pytest.mark.timeout(300)
async def test_scale_works_through_every_backlog_and_serves_every_partition(kafka: str) -> None:
    printed = await figures_of("scale", "--posts", "200", "--partitions", "8", "--bootstrap-servers", kafka)
    assert printed["ratio"].keys() == {"memory_by_backlog", "lanes_8_over_1"}
    assert list(printed["lanes"]) == ["1", "2", "4", "8"]
    assert list(printed["backlog"]) == ["2", "20", "200"]
    assert list(printed["partitions"]) == ["2", "8"]
    for figures in (*printed["lanes"].values(), *printed["backlog"].values()):
        assert figures["posts_per_second"] > 0
        assert figures["peak_memory_bytes"] > 2**20
    for figures in printed["partitions"].values():
        assert figures["start_s"] > 0
        assert figures["rebalance_s"] > 0


@pytest.mark.timeout(180)
async def test_partitions_opens_every_partition_over_tls() -> None:
    if reason := missing_tools():
        skip_or_fail(reason)
    if shutil.which("openssl") is None:
        skip_or_fail("openssl makes the certificates")
    printed = await figures_of("partitions", "--partitions", "5", "--idle-s", "0.1")
    assert (printed["partitions"], printed["tls"], printed["rebalances"]) == (5, True, 1)
    assert min(printed[name] for name in ("open_s", "open_cpu_s", "worst_stall_s", "peak_memory_bytes")) > 0


@pytest.mark.timeout(300)
async def test_host_cuts_the_same_patches_as_the_processor_at_every_size() -> None:
    printed = await figures_of("host", "--images", "3", "--repeats", "1")
    assert {"ms_per_image", "vision_ms"} <= printed.keys()
    assert printed["ratio"].keys() == {"hf_processor", "hf_processor_floats"}
    assert printed["sizes"].keys() == {"112", "448", "644", "1036"}
    assert printed["post_ms"].keys() == {"beside_the_model", "on_its_thread"}
    for size in printed["sizes"].values():
        assert size["max_levels_apart"] <= 1.01
        assert size["ms_per_image"] > 0


def test_the_photographs_are_the_same_for_a_seed_and_differ_among_each_other() -> None:
    from benchmarks.host import jpeg  # noqa: PLC0415 - it imports torch

    files = [jpeg(number, np.random.default_rng([1, number])) for number in range(3)]
    assert files == [jpeg(number, np.random.default_rng([1, number])) for number in range(3)]
    assert len(set(files)) == 3
    assert all(Image.open(BytesIO(data)).size == (1024, 1024) for data in files)
