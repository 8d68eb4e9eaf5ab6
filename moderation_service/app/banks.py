"""The banks of known content while a process runs: from files and from the topic, and compacted beside matching."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog

from moderation_service.backoff import Backoff
from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.topic import TopicBanks
from moderation_service.errors import Fatal, Misconfigured, ModerationError, Transient
from moderation_service.kafka.topic_consumer import Batch, Offsets, TopicConsumer
from moderation_service.readers.bank_files import load_banks
from moderation_service.settings import KafkaSettings, Settings
from moderation_service.telemetry import metrics

_BACKOFF = Backoff(first_s=1.0, longest_s=30.0)
_AT_ONCE = 50_000  # records applied together: a bank's digest is computed once for them
_WAIT_S = 0.2
_LOOK_S = 5.0  # how often it is asked how far behind this is
_LEAST_S = 60.0
_MOST_SKIPPED = 20  # logged of a batch

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_banks(
    settings: Settings, *, follow_s: float | None = None, look_every_s: float = 1.0
) -> AsyncIterator[BankMatcher]:
    """The banks of `banks.path`, then as `keep_banks`. Raises Misconfigured for a wrong file too."""
    banks = await asyncio.to_thread(load_banks, settings.banks.path)  # a million hashes take 20 seconds
    async with keep_banks(settings.kafka, banks, follow_s=follow_s, look_every_s=look_every_s):
        yield banks


@asynccontextmanager
async def keep_banks(
    kafka: KafkaSettings, banks: BankMatcher, *, follow_s: float | None, look_every_s: float = 1.0
) -> AsyncIterator[None]:
    """Compact the banks during the block; with `follow_s` first add those of the topic, and follow it.

    It is read within so many seconds, a minute at least; `math.inf` waits. Raises Fatal where that can't be.
    """
    tasks = list[asyncio.Task[None]]()
    try:
        if follow_s is not None:
            follower = BankFollower(kafka, banks)
            tasks.append(asyncio.create_task(follower.run()))
            await _loaded(follower, tasks[0], max(follow_s, _LEAST_S))
            await asyncio.to_thread(banks.compact)
        for loaded in banks:
            bank = loaded.bank
            log.info("bank loaded", bank=bank.name, action=bank.action, mode=bank.mode, entries=len(loaded))
        tasks.append(asyncio.create_task(_maintain(banks, look_every_s)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BankFollower:
    """Reads the banks topic from its start, as a member of no group, and applies it to the matcher for ever."""

    def __init__(self, settings: KafkaSettings, banks: BankMatcher, backoff: Backoff = _BACKOFF) -> None:
        self.topic = settings.banks_topic
        self._settings = settings
        self._banks = TopicBanks(banks)
        self._backoff = backoff
        self._offsets: Offsets = {}
        self.loaded = asyncio.Event()
        """Set once all is read that was on the topic at the start; also where there is no such topic."""
        self.trouble = ""
        self._failures = 0  # in a row

    async def run(self) -> None:
        """Follow until cancelled. While Kafka is away the banks stay as they are. Raises Misconfigured at the start."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # whatever it is, posts are matched against the banks as they are
                if isinstance(error, Misconfigured) and not self.loaded.is_set():
                    raise
                why = str(error) if isinstance(error, ModerationError) else repr(error)
                if why != self.trouble:
                    log.warning("the banks topic can't be read; it is tried again", error=why)
                self.trouble = why
                if isinstance(error, Transient) and error.reason == "topic_missing":
                    self.loaded.set()  # nobody can have put anything there
                    self._start_over()  # and what is created in its place begins at offset 0
                self._failures += 1
                await self._backoff.wait(self._failures)

    async def _follow(self) -> None:
        async with TopicConsumer.open(self._settings, [self.topic], self._offsets) as consumer:
            ends = await consumer.ends()
            self._check_not_recreated(ends.items())
            records = await consumer.take(_AT_ONCE, _WAIT_S)
            while not await consumer.has_reached(ends):
                if len(records) >= _AT_ONCE:
                    await self._apply(Batch(records))
                    records = []
                records += await consumer.take(_AT_ONCE, _WAIT_S)
            await self._apply(Batch(records))
            self._banks.finish()
            self.loaded.set()
            self.trouble, self._failures = "", 0
            while True:
                await consumer.add_new_partitions()
                self._check_not_recreated((await consumer.ends()).items())
                lag = sum((await consumer.lags()).values())
                metrics.BANKS_LAG.set(lag)
                if not lag:
                    metrics.BANKS_READ.set_to_current_time()
                look = time.monotonic() + _LOOK_S
                while time.monotonic() < look:
                    if records := await consumer.take(_AT_ONCE, _WAIT_S):
                        await self._apply(Batch(records))
                        log.info("banks changed", records=len(records))

    def _check_not_recreated(self, offsets: Iterable[tuple[tuple[str, int], int]]) -> None:
        """Raise Transient where these are before what was read: the topic was deleted and created again."""
        if any(offset < self._offsets.get(at, 0) for at, offset in offsets):
            self._start_over()
            msg = f"{self.topic}: was created again, and is read from its start"
            raise Transient("topic_recreated", msg)

    def _start_over(self) -> None:
        self._offsets = {}
        self._banks.start_over()

    async def _apply(self, batch: Batch) -> None:
        self._check_not_recreated(((record.topic, record.partition), record.offset) for record in batch.records)
        skipped = await asyncio.to_thread(self._banks.apply, batch)
        self._offsets |= batch.offsets
        metrics.BANK_RECORDS_SKIPPED.inc(len(skipped))
        for line in skipped[:_MOST_SKIPPED]:
            log.warning("record of the banks topic skipped", why=line)


async def _loaded(follower: BankFollower, following: "asyncio.Task[None]", timeout_s: float) -> None:
    """Wait for it. Raises Fatal."""
    log.info("reading the banks topic", topic=follower.topic)
    loading = asyncio.create_task(follower.loaded.wait())
    try:
        await asyncio.wait({loading, following}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loading.cancel()
    if following.done():
        following.result()
    if not follower.loaded.is_set():
        msg = f"kafka.banks_topic {follower.topic}: not read within {timeout_s:.0f} s: {follower.trouble or 'too slow'}"
        raise Fatal(msg)


async def _maintain(banks: BankMatcher, look_every_s: float) -> None:
    """Compact indexes that need it, and tell how many entries there are. Banks after the first 100 are not told."""
    told = Counter[str]()
    while True:
        labels, sizes = banks.labels, Counter[str]()
        for loaded in banks:
            if label := labels.get(loaded.bank.name):
                sizes[label] += len(loaded)
        for name in told.keys() - sizes.keys():
            metrics.BANK_ENTRIES.remove(name)
        for name, size in sizes.items():
            metrics.BANK_ENTRIES.labels(name).set(size)
        told = sizes
        if any(loaded.needs_compaction for loaded in banks):
            try:
                await asyncio.to_thread(banks.compact)
            except Exception:  # matching goes on with the indexes as they are, only slower
                metrics.BANK_COMPACTION_FAILURES.inc()
                log.exception("the banks' indexes could not be compacted; it is tried again")
        await asyncio.sleep(look_every_s)
