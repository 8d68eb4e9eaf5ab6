"""Where one scenario takes place: a cluster, topics of its own, an engine, workers, traffic, and those who look on."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moderation_service.bench.local_kafka import free_port
from moderation_service.kafka import topics
from moderation_service.settings import KafkaSettings
from tests.chaos import checker, reader
from tests.chaos.cluster import Cluster
from tests.chaos.engine import Engine, engine
from tests.chaos.traffic import MIX, Sent, Traffic
from tests.chaos.watch import Watch
from tests.chaos.workers import Worker, environment
from tests.stream.support import eventually, kafka_settings

PARTITIONS = 6
DONE_S = 180.0


@dataclass(frozen=True)
class Setting:
    """What a scenario asks for."""

    workers: int = 3
    brokers: int = 1
    rate: float = 60.0
    kafka: Mapping[str, object] = field(default_factory=dict)
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    text_bytes: int = 0
    proxied: bool = False


@dataclass
class Arena:
    """The scenario's hands. `counts` are the faults that it did, for the table."""

    cluster: Cluster
    settings: KafkaSettings
    engine: Engine
    traffic: Traffic
    watch: Watch
    rng: random.Random
    folder: Path
    env: dict[str, str]
    host_port: int  # of a host of images, which the workers may ask
    workers: list[Worker] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    partial: bool = False  # it can't get done: what is committed in the end is checked
    _started: int = 0

    def did(self, fault: str) -> None:
        self.counts[fault] = self.counts.get(fault, 0) + 1

    def start_worker(self) -> Worker:
        self._started += 1
        worker = Worker(self.env, self.folder / f"worker-{self._started}.log")
        self.workers.append(worker)
        return worker

    async def stop_worker(self, worker: Worker) -> None:
        """SIGTERM; it must exit with 0."""
        self.workers.remove(worker)
        try:
            code = await worker.stopped()
        finally:
            worker.end()
        assert code == 0, f"exit code {code} after SIGTERM: {worker.tail()}"

    def kill_worker(self, worker: Worker) -> None:
        """SIGKILL of one that has not ended by itself."""
        assert worker.running, worker.tail()
        self.workers.remove(worker)
        worker.kill()

    def dead_workers(self) -> list[str]:
        """The last words of those that ended by themselves."""
        return [worker.tail() for worker in self.workers if not worker.running]

    def done(self) -> int:
        """Records below the committed offsets."""
        return sum(self.watch.committed.values())

    async def until_done(self, more: int, patience_s: float = DONE_S) -> None:
        """Wait for progress: so many more records are committed than now."""
        wanted = self.done() + more
        await eventually(lambda: self.done() >= wanted, f"{more} more records done", patience_s)

    async def until_all_done(self, sent: list[Sent], patience_s: float = DONE_S) -> None:
        ends: dict[int, int] = {}
        for one in sent:
            ends[one.partition] = max(one.offset + 1, ends.get(one.partition, 0))

        def all_done() -> bool:
            assert not self.dead_workers(), self.dead_workers()[0]
            return all(self.watch.committed.get(partition, 0) >= end for partition, end in ends.items())

        await eventually(all_done, "everything committed", patience_s)


@dataclass
class Outcome:
    """One line of the table."""

    name: str
    seconds: float = 0.0
    posts: int = 0
    verdicts: int = 0
    dead: int = 0
    gone: int = 0
    twice: int = 0
    missing: int = 0
    looks: int = 0
    faults: str = ""
    breaches: list[str] = field(default_factory=list)


Scenario = Callable[[Arena], Awaitable[None]]


async def take_place(
    name: str, scenario: Scenario, setting: Setting, cluster: Cluster, seed: int, folder: Path
) -> Outcome:
    """Run it, wait until all is done, stop the workers, and check."""
    outcome, begun = Outcome(name), time.monotonic()
    try:
        await asyncio.to_thread(cluster.mend)
        async with _arena(name, setting, cluster, seed, folder) as arena:
            for _ in range(setting.workers):
                arena.start_worker()
            for worker in arena.workers:
                await worker.ready()
            if setting.workers:
                arena.traffic.begin()
            try:
                await scenario(arena)
            finally:
                outcome.faults = ", ".join(f"{times} {fault}" for fault, times in arena.counts.items())
            acknowledged = await asyncio.to_thread(arena.traffic.end)
            sent = await asyncio.to_thread(reader.written, arena.settings)
            if not arena.partial:
                await arena.until_all_done(sent)
            for worker in list(arena.workers):
                await worker.ready()  # before that, SIGTERM ends Python itself
                await arena.stop_worker(worker)
            await arena.watch.one_more()
            until = arena.watch.committed if arena.partial else None
            samples = arena.watch.end()
            found = await asyncio.to_thread(reader.read, arena.settings)
            once = arena.settings.delivery == "exactly_once"
            outcome.breaches = checker.acknowledged_in_vain(acknowledged, sent)
            outcome.breaches += checker.breaches(found, sent, samples, once=once, until=until)
            outcome.posts, outcome.looks = len(sent), len(samples)
            outcome.verdicts, outcome.dead, outcome.gone = (found.kinds[kind] for kind in ("verdict", "dead", "gone"))
            outcome.twice = len(checker.twice(found, sent))
            outcome.missing = len(checker.missing(found, sent, until))
    except Exception as error:  # noqa: BLE001 - whatever ends a scenario early is a breach
        outcome.breaches.append(f"{type(error).__name__}: {error}")
    outcome.seconds = time.monotonic() - begun
    return outcome


def _media(host_port: int) -> dict[str, str]:
    return {
        "MODERATION_MEDIA__ALLOWED_SCHEMES": '["data", "http"]',
        "MODERATION_MEDIA__ALLOWED_PORTS": f"[{host_port}]",
        "MODERATION_MEDIA__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "MODERATION_MEDIA__FETCH_TIMEOUT_S": "2",
    }


@asynccontextmanager
async def _arena(name: str, setting: Setting, cluster: Cluster, seed: int, folder: Path) -> AsyncIterator[Arena]:
    rng = random.Random(f"{seed} {name}")
    unique = f"{name}-{seed}-{int(time.time())}"
    quick: dict[str, object] = {"request_timeout_s": 8.0, "max_in_flight_posts": 64}
    settings = kafka_settings(cluster.address, unique, **{**quick, **setting.kafka})
    # where there are several brokers, `replication` is what they say
    await topics.create(settings, PARTITIONS, 1 if setting.brokers == 1 else topics.BROKERS_DEFAULT)
    theirs = settings
    if setting.proxied:
        theirs = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{cluster.proxied}"})
    async with engine() as answering:
        host_port = free_port()
        env = environment(theirs, answering.url, folder, **_media(host_port))
        traffic = Traffic(
            cluster.address,
            settings.input_topic,
            random.Random(f"{seed} {name} traffic"),
            setting.rate,
            setting.mix,
            setting.text_bytes,
        )
        arena = Arena(cluster, settings, answering, traffic, Watch(settings), rng, folder, env, host_port)
        arena.watch.begin()
        try:
            yield arena
        finally:
            for worker in arena.workers:
                worker.end()
            traffic._ending.set()
            arena.watch._ending.set()
