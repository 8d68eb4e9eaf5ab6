"""`moderation bench load`: latency by rate of running workers, and the rate up to which they keep up: the knee."""

import asyncio
import os
import random
import secrets
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from moderation_service.bench.generated_posts import make_image, text
from moderation_service.bench.local_kafka import free_port, local_kafka
from moderation_service.bench.open_loop import Answered, OpenLoop, open_loop, topics_of
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka.topic_io import Record
from moderation_service.kafka.topics import PARTITIONS
from moderation_service.media.storage import FileReader
from moderation_service.readers.post_files import BadPost, read_posts, root_of, with_images
from moderation_service.settings import PREFIX, KafkaSettings, load_settings

HALVINGS = 4  # the knee is found to within a sixteenth of the rate at which the worker first fell behind
RUNNING = "running"
_WARM_UP = 0.25  # of a step's length
_TEXT, _SIDE = 200, 112  # characters, and pixels: the bundled model's size
_QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """One rate, and how it went; seconds."""

    rate: float
    answered: Answered
    within: float

    @property
    def holds(self) -> bool:
        """Whether 99 of 100 verdicts came in time. Where posts come faster than they are judged, they never do."""
        return bool(np.percentile(self.answered.latency, 99) <= self.within)

    @property
    def verdicts_per_second(self) -> float:
        """From the first post due to the last verdict."""
        return len(self.answered.latency) / self.answered.seconds

    def figures(self) -> dict[str, Any]:
        """As they are printed."""
        latency = {name: _ms(np.percentile(self.answered.latency, each)) for name, each in _QUANTILES.items()}
        return {
            "rate": self.rate,
            "posts": len(self.answered.latency),
            "verdicts_per_second": round(self.verdicts_per_second, 2),
            "latency_ms": latency,
            "sent_late_ms_p99": _ms(np.percentile(self.answered.late, 99)),
            "holds": self.holds,
        }


def run(  # noqa: PLR0913 - options of a command
    *,
    workers: int = 2,
    rate: float = 8.0,
    seconds: float = 20.0,
    within: float = 1.0,
    posts: Path | None = None,
    bootstrap_servers: str | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Send posts at a rate that doubles until verdicts come late, then narrow down where that begins: the knee.

    Args:
        workers: One is measured, then so many, each started for it with this environment's settings. With 0 those are
            driven that run already, on the topics that the settings name: they should not be those of real posts.
        rate: Posts a second of the first step; they come at random, as those of many people do.
        seconds: Of each step.
        within: Seconds in which 99 of 100 verdicts should come, from when the post was due.
        posts: A file or folder of posts, sent in turn, instead of made ones of 200 characters and an image of 112².
        bootstrap_servers: A Kafka to use; without it one is started, or with 0 workers that of the settings is used.
        seed: Of the made posts, and of when posts come.
    """
    if workers < 0 or min(rate, seconds, within) <= 0:
        msg = "bench load: --rate, --seconds and --within should be over 0, --workers 0 or more"
        raise Misconfigured(msg)
    sent = _own(posts) if posts else _made(random.Random(seed))  # noqa: S311 - repeatable, no secret
    search = Search(sent, rate, seconds, within, seed)
    fleets = asyncio.run(_fleets(search, workers, bootstrap_servers))
    first, last = next(iter(fleets.values())), [*fleets.values()][-1]
    ratio = {"knee_of_most": _ratio(last["knee"], last["most_verdicts_per_second"])}
    if workers > 1:
        ratio["knee_over_one_worker"] = _ratio(last["knee"], first["knee"])
    return {"ratio": ratio, "fleets": fleets, "within_s": within, "seconds": seconds, "seed": seed}


@dataclass(frozen=True, slots=True)
class Search:
    """What is sent, how long, and what is looked for."""

    posts: Iterator[Post]
    rate: float
    seconds: float
    within: float
    seed: int

    async def of(self, kafka: KafkaSettings) -> dict[str, Any]:
        """The knee of who works on these topics, and all steps by rate."""
        async with open_loop(kafka) as loop:
            await self._step(loop, self.rate, self.seconds * _WARM_UP)
            steps = await steps_to_the_knee(lambda rate: self._step(loop, rate, self.seconds), self.rate)
        held = [step.rate for step in steps if step.holds]
        return {
            "knee": max(held, default=None),
            "most_verdicts_per_second": round(max(step.verdicts_per_second for step in steps), 2),
            "steps": [step.figures() for step in sorted(steps, key=lambda step: step.rate)],
        }

    async def _step(self, loop: OpenLoop, rate: float, seconds: float) -> Step:
        gaps = np.random.default_rng(self.seed).exponential(1 / rate, max(1, round(rate * seconds)))
        due = np.cumsum(gaps).tolist()
        records = await asyncio.to_thread(self._records, loop.topic, len(due))
        return Step(rate, await loop.drive(records, due), self.within)

    def _records(self, topic: str, number: int) -> list[Record]:
        name = secrets.token_hex(4)
        ids = (f"load-{name}-{at}" for at in range(number))
        posts = (next(self.posts).model_copy(update={"post_id": each}) for each in ids)
        return [
            Record(topic, post.post_id.encode(), post.model_dump_json(exclude_defaults=True).encode()) for post in posts
        ]


async def steps_to_the_knee(measure: Callable[[float], Awaitable[Step]], rate: float) -> list[Step]:
    """Measure at rates that double until one does not hold, then HALVINGS times between the last two."""
    steps = [await measure(rate)]
    while steps[-1].holds:
        steps.append(await measure(2 * steps[-1].rate))
    over, holding = steps[-1].rate, steps[-1].rate / 2 if len(steps) > 1 else 0.0
    for _ in range(HALVINGS):
        steps.append(step := await measure((holding + over) / 2))
        holding, over = (step.rate, over) if step.holds else (holding, step.rate)
    return steps


async def _fleets(search: Search, workers: int, bootstrap_servers: str | None) -> dict[str, Any]:
    if not workers:
        given = {"kafka": {"bootstrap_servers": bootstrap_servers}} if bootstrap_servers else {}
        return {RUNNING: await search.of(load_settings(None, **given).kafka)}
    async with AsyncExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(local_kafka())
        threads = max(1, (os.cpu_count() or 1) // 2 // workers)  # the other half is the broker's and this process's
        found = {}
        for number in sorted({1, workers}):
            kafka = await topics_of(address, f"bench-{secrets.token_hex(4)}", "worker", max(PARTITIONS, workers))
            async with fleet(kafka, number, threads):
                found[str(number)] = await search.of(kafka)
        return found


def _made(rng: random.Random) -> Iterator[Post]:
    """No two alike, or what was judged before would be found and not judged."""
    for _ in count():
        yield Post(post_id="load", text=text(rng, _TEXT), images=(make_image(rng, _SIDE),))


def _own(path: Path) -> Iterator[Post]:
    """The posts of a file, again and again. Raises Misconfigured for a row that is none, and where there are none."""
    reader = FileReader(root_of(path), load_settings().media.max_bytes)
    posts = []
    for row in read_posts(path):
        post = with_images(row, reader) if isinstance(row, Post) else row
        if isinstance(post, BadPost):
            msg = f"bench load: {post.where}: {post.why}"
            raise Misconfigured(msg)
        posts.append(post)
    if not posts:
        msg = f"bench load: {path}: no posts in it"
        raise Misconfigured(msg)
    return cycle(posts)


def _ratio(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 3) if part and whole else None


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


@asynccontextmanager
async def fleet(kafka: KafkaSettings, workers: int, threads: int) -> AsyncIterator[None]:
    """Run so many workers for the block, each ready when it begins; stopped as a rollout does.

    Settings other than Kafka's come from the environment, where OMP_NUM_THREADS goes before `threads`, those of the
    model on a CPU. Raises Fatal with the last line of its log where a worker ends before it is ready.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        started = [
            await stack.enter_async_context(_worker(kafka, threads, folder / f"{number}.log"))
            for number in range(workers)
        ]
        await asyncio.gather(*(_ready(*each) for each in started))
        yield


@asynccontextmanager
async def _worker(kafka: KafkaSettings, threads: int, log: Path) -> AsyncIterator[tuple[Process, int, Path]]:
    port = free_port()
    with log.open("wb") as out:
        command = (sys.executable, "-m", "moderation_service", "run")
        env = _environment(kafka, port, threads)
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=DEVNULL, stderr=out)
    try:
        yield process, port, log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _environment(kafka: KafkaSettings, port: int, threads: int) -> dict[str, str]:
    section = f"{PREFIX}KAFKA__"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(section)}
    changed = kafka.model_dump(mode="json", exclude_defaults=True)
    return {
        "OMP_NUM_THREADS": str(threads),
        f"{PREFIX}LOGGING__FORMAT": "json",
        **kept,
        **{f"{section}{name.upper()}": str(value) for name, value in changed.items()},
        f"{PREFIX}OPS__HOST": "127.0.0.1",
        f"{PREFIX}OPS__PORT": str(port),
    }


async def _ready(process: Process, port: int, log: Path) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:  # noqa: PLR2004 - ready
                        return
            except aiohttp.ClientError:
                pass  # the port is not open yet
            if process.returncode is not None:
                msg = f"bench load: a worker ended with {process.returncode} before it was ready: {_last_line(log)}"
                raise Fatal(msg)
            await asyncio.sleep(_LOOK_S)


def _last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
