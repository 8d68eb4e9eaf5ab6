"""20,000 recorded posts judged again beside live posts, over three kills: `python -m tests.line.rejudge_at_scale`.

The worker and `moderation rejudge` are processes with an engine of rules instead of a model. Live posts come steadily.
Prints JSON. Fails where a post is lost, judged twice, or flips otherwise than by `moderation policies diff`, and where
the live posts' p95 latency rises by more than a tenth.
"""

import asyncio
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from moderation_service.app import compose
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.cli import main as command_line
from moderation_service.contracts.enums import Trigger
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import Record, post_record, publish, read
from moderation_service.kafka.topics import create
from moderation_service.settings import KafkaSettings, shipped_policies
from moderation_service.stream.rejudge_plan import RejudgePlan
from tests.judging.engines import RuleEngine
from tests.line.service import Service, environment, kafka_settings, started

POSTS = int(os.environ.get("POSTS", "20000"))
KILLS, LIVE_PER_S, ALONE_S, RATE = 3, 10, 60, 200
MODULE = "tests.line.rejudge_at_scale"


def post(number: int, prefix: str = "p") -> Post:
    return Post(
        post_id=f"{prefix}{number:06}", text=f"Post {number}: {'I will kill you' if number % 20 == 0 else 'hello'}"
    )


async def run(folder: Path, address: str) -> dict[str, object]:
    settings, proposed = kafka_settings(address), folder / "proposed"
    shutil.copytree(shipped_policies(), proposed)
    (proposed / "violence.yaml").unlink()
    await create(settings, partitions=3)
    posts = [post(number) for number in range(POSTS)]
    await publish(settings, (post_record(settings, one) for one in posts))
    env = environment(settings)
    async with started(Service, ("run",), env, MODULE):
        await until(settings, POSTS)
        feeding = asyncio.create_task(feed(settings))
        await asyncio.sleep(ALONE_S)
        begun = time.time()
        report = await rejudge(folder, proposed, env)
        ended = time.time()
        feeding.cancel()
    (folder / "posts.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in posts))
    diff = await output(
        "policies",
        "diff",
        str(shipped_policies()),
        str(proposed),
        "--posts",
        str(folder / "posts.jsonl"),
        "--json",
        env=environment(),
    )
    expected = {flip["post_id"] for flip in diff["flips"]}
    flips = {flip["post_id"] for flip in report["flips"] if flip["post_id"].startswith("p")}
    again, latencies = Counter[str](), {"alone": list[float](), "beside": list[float]()}
    created = {record.key: record.timestamp async for record in read(settings, settings.input_topic)}
    async for record in read(settings, settings.output_topic):
        verdict = Verdict.model_validate_json(record.value)
        if verdict.trigger is Trigger.REJUDGE:
            again[verdict.post_id] += 1
        elif verdict.post_id.startswith("live"):
            at = created[record.key] / 1000
            phase = "alone" if at < begun - 1 else "beside" if begun + 10 < at < ended else None
            if phase:
                latencies[phase].append(record.timestamp - created[record.key])
    p95 = {phase: statistics.quantiles(found, n=20)[18] for phase, found in latencies.items()}
    in_plan = [one for one in again if one.startswith("p")]
    figures = {
        "posts": POSTS,
        "judged": report["posts"],
        "kills": KILLS,
        "published": len(in_plan),
        "published_twice": sum(count > 1 for count in again.values()),
        "flips": len(flips),
        "flips_equal_policies_diff": flips == expected,
        "seconds": round(ended - begun, 1),
        "live_posts": {phase: len(found) for phase, found in latencies.items()},
        "live_p95_ms": {phase: round(value, 1) for phase, value in p95.items()},
        "live_p95_ratio": round(p95["beside"] / p95["alone"], 3),
    }
    assert set(in_plan) == {one.post_id for one in posts}, figures
    assert not figures["published_twice"], figures
    assert flips == expected, figures
    assert p95["beside"] <= 1.1 * p95["alone"], figures
    return figures


async def rejudge(folder: Path, proposed: Path, env: dict[str, str]) -> dict[str, object]:
    """Killed each time that another quarter is done."""
    command = ("rejudge", "--since", "1h", "--policies", str(proposed), "-o", str(folder / "r"), "--publish", "all")
    command += ("--json", "--rate", str(RATE), "--max-lag", "1000")
    for kill in range(KILLS):
        async with started(Service, command, env, MODULE) as running:
            while done(folder) < POSTS * (kill + 1) // (KILLS + 1):
                assert running.process.returncode is None, running.lines[-5:]
                await asyncio.sleep(0.2)
            running.process.kill()
    return await output(*command, env=env)


def done(folder: Path) -> int:
    if not (folder / "r/plan.db").exists():
        return 0
    with closing(RejudgePlan(folder / "r/plan.db")) as plan:
        return plan.count()[1] if plan.is_complete else 0


async def output(*command: str, env: dict[str, str]) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err[-2000:]
    return json.loads(out)


async def until(settings: KafkaSettings, count: int) -> None:
    seen = 0
    async for _ in read(settings, settings.output_topic, follow=True):
        seen += 1
        if seen == count:
            return


async def feed(settings: KafkaSettings) -> None:
    async def steadily() -> AsyncIterator[Record]:
        for number in itertools.count():
            yield post_record(settings, post(number, "live"))
            await asyncio.sleep(1 / LIVE_PER_S)

    await publish(settings, steadily())


def main() -> None:
    if sys.argv[1:]:  # `moderation`, with the engine of rules
        compose.engine_class = lambda _: lambda _: RuleEngine()  # type: ignore[assignment, return-value]
        command_line()
    with tempfile.TemporaryDirectory() as folder, local_kafka(Path(folder) / "kafka") as address:
        sys.stdout.write(json.dumps(asyncio.run(run(Path(folder), address)), indent=1) + "\n")


if __name__ == "__main__":
    main()
