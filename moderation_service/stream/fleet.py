"""All lanes of one worker: what they may take in, what becomes of it, and how they begin and end."""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from moderation_service.errors import Fatal
from moderation_service.kafka.corrupt_batches import CorruptBatch
from moderation_service.settings import KafkaSettings
from moderation_service.stream.arrived import Arrived
from moderation_service.stream.at_work import AtWork
from moderation_service.stream.breaker import DeadLetterBreaker
from moderation_service.stream.finished import Finished
from moderation_service.stream.held_partitions import HeldPartitions, Unreadable
from moderation_service.stream.intake import Intake
from moderation_service.stream.lane import Lane
from moderation_service.stream.ledger import Release
from moderation_service.stream.processing import Processing
from moderation_service.stream.publisher import Lost, publisher_of
from moderation_service.stream.read_ahead import ReadAhead
from moderation_service.stream.start import Start, start_of
from moderation_service.stream.telling import tell
from moderation_service.telemetry import metrics

_LAST_RELEASE_S = 0.8
_PASS_BY_EVERY_S = 1.0
_LONGEST_DELAY_S = 30.0
_log = structlog.get_logger(__name__)


class Fleet:
    """The lanes, and what they have at work. `failure` is set where the process can't go on."""

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer, processing: Processing) -> None:
        """No lane is open yet."""
        self.lanes: dict[TopicPartition, Lane] = {}
        self.failure: Fatal | None = None
        self._settings = settings
        self._consumer = consumer
        self._at_work = AtWork(processing, self._died_on_a_record)
        self._breaker = DeadLetterBreaker(settings)
        self.unreadable = HeldPartitions(settings)
        self._admission = Intake(settings, consumer, self._breaker, self.unreadable)
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}
        self._losses: Counter[TopicPartition] = Counter()
        self._adrift: set[TopicPartition] = set()
        self._settled_one = asyncio.Event()
        self._intake = False
        self._pass_by_at = 0.0
        self._ended = False
        self._owner = secrets.token_hex(4)  # what this process is called in the notes of its lanes
        self._seen_at = time.monotonic()

    @property
    def paused(self) -> bool:
        """Whether some lane takes nothing in because too much is in flight."""
        return any(lane.waiting or lane.given_back for lane in self.lanes.values())

    @property
    def hungry(self) -> AbstractSet[TopicPartition]:
        """The partitions of which more may be read: nothing waits there."""
        if not self._intake:
            return frozenset()
        its = {partition for partition, lane in self.lanes.items() if lane.is_open and not lane.full}
        return {partition for partition in its if not self.unreadable.is_waiting(partition)}

    @property
    def read_ahead(self) -> ReadAhead:
        """What may be read of them now."""
        waiting = (arrived.size for lane in self.lanes.values() for arrived in lane.waiting)
        bounds = self._settings.max_in_flight_posts, self._settings.max_in_flight_bytes
        return ReadAhead(*bounds, len(self.lanes), waiting)

    @property
    def held(self) -> bool:
        """Whether some lane can't publish."""
        return any(lane.held for lane in self.lanes.values())

    @property
    def engine_held(self) -> bool:
        """Whether the engine finishes nothing."""
        return self._at_work.held

    @property
    def poisoned(self) -> bool:
        """Whether nothing is taken in because too many records became dead letters."""
        return self._breaker.is_open

    @property
    def lossy(self) -> bool:
        """Whether some partition lost records, and nobody acknowledged it."""
        return any(lane.note for lane in self.lanes.values())

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin a lane for each; their records are dropped until it is open, and fetched again then."""
        if self._ended:
            return
        self._notice_a_stall()
        self._intake = True
        for partition in partitions:
            self._consumer.pause(partition)
            self._begin(partition)

    async def end(self, budget_s: float) -> None:
        """Close for good: what the group still assigns is not opened."""
        self._ended = True
        await self.close(budget_s)

    async def close(self, budget_s: float) -> None:
        """Take nothing more, give what is in flight `budget_s` seconds, release what is finished, end all lanes."""
        self._notice_a_stall()
        self._intake = False
        unfinished = {lane.partition for lane in self.lanes.values() if lane.ledger.posts or lane.waiting}
        for lane in self.lanes.values():
            lane.waiting.clear()
            lane.drain()
        try:
            async with asyncio.timeout(budget_s):
                while any(lane.ledger.posts for lane in self.lanes.values()):
                    self._settled_one.clear()
                    await self._settled_one.wait()
        except TimeoutError:
            left = sum(lane.ledger.posts for lane in self.lanes.values())
            _log.info("posts are left to their next owner", posts=left)
        for partition in list(self.lanes):
            self._at_work.abandon(partition)
        for partition, lane in self.lanes.items():
            if lane.is_open:
                noteworthy = self._ended or partition in unfinished or lane.guard.suspects > 0
                lane.end_after_release(sign_off=noteworthy and lane.guard.owner == self._owner)
            else:
                self._running[partition].cancel()
        running = set(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=_LAST_RELEASE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self.lanes.clear()
        self._running.clear()
        self._adrift.clear()
        self.unreadable.clear()
        self._gauge()

    def arrive(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Take records from the consumer.

        Raises Fatal where a lane does not take what it is given: a fault of ours, that waiting won't mend.
        """
        for partition, records in batches.items():
            lane = self.lanes.get(partition)
            if lane is None or not lane.is_open or not self._intake:
                continue  # the lane seeks once it is open, and they come again
            if records[0].offset < lane.position:
                self.out_of_range({partition: lane.position})  # the topic was made anew
                continue
            self.unreadable.release(partition)
            for record in records:
                lane.waiting.append(Arrived.of(record))
                lane.position = record.offset + 1
        if not self.poisoned and not any(lane.ledger.posts for lane in self.lanes.values()):
            self._take_again()  # nothing is in flight that could make room
        try:
            self._admit()
        except ValueError as error:
            msg = f"records did not come in the order of their offsets: {error}"
            raise Fatal(msg) from error
        self._give_back()

    def _give_back(self) -> None:
        """Let go of what waits beyond the bound of bytes; it is fetched again when something is published."""
        sizes = {lane: sum(arrived.size for arrived in lane.waiting) for lane in self.lanes.values() if lane.waiting}
        while sum(sizes.values()) > self._settings.max_in_flight_bytes:
            largest = max(sizes, key=lambda lane: sizes[lane])
            del sizes[largest]
            largest.position = largest.waiting[0].record.offset
            largest.waiting.clear()
            largest.given_back = True
            self._seek(largest)

    def _take_again(self) -> None:
        lane = next((lane for lane in self.lanes.values() if lane.given_back), None)
        if lane is not None:
            lane.given_back = False

    def forget_fetched(self) -> None:
        """Let go of what is fetched for lanes that take nothing now."""
        for lane in self.lanes.values():
            if lane.is_open and lane.full and not lane.adrift:
                self._seek(lane)

    def out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """What comes next in these is not in the log: what they have in flight is published, then they open anew."""
        for partition, offset in offsets.items():
            lane = self.lanes.get(partition)
            if lane is not None and lane.is_open and offset >= lane.position:
                lane.adrift = True
                lane.drain()
                self._end_if_adrift(lane)

    def corrupt(self, batch: CorruptBatch) -> None:
        """Hold its partition: others go on, and it is fetched again after a while."""
        lane = self.lanes.get(batch.partition)
        if lane is not None and lane.is_open:
            told = Unreadable(batch.partition, "corrupt_batch", batch.offset, batch.next_offset, str(batch))
            self.unreadable.hold(told)
            if self._is_assigned(batch.partition):
                self._consumer.pause(batch.partition)

    def pass_by(self, position: Callable[[TopicPartition], int | None]) -> None:
        """Once a second let idle lanes commit the position of the consumer: it passes what is no record."""
        if not self._intake or time.monotonic() < self._pass_by_at:
            return
        self._pass_by_at = time.monotonic() + _PASS_BY_EVERY_S
        for partition in self.hungry & self._consumer.assignment():
            lane, offset = self.lanes[partition], position(partition)
            if offset is not None and not lane.ledger.posts:
                lane.pass_by(offset)

    def rewind(self) -> None:
        """Fetch again what was not taken in."""
        self._notice_a_stall()
        for lane in self.lanes.values():
            if lane.is_open and not lane.adrift:
                self._seek(lane)

    def _begin(self, partition: TopicPartition, delay_s: float = 0.0) -> None:
        publisher = publisher_of(self._settings, partition, self._consumer)
        lane = Lane(partition, self._settings, publisher, self._start_of, self._settled, self._owner)
        self.lanes[partition] = lane
        self._running[partition] = asyncio.create_task(self._run(lane, delay_s))

    async def _start_of(self, lane: Lane) -> Start:
        opening = not lane.is_open
        start = await start_of(self._settings, self._consumer, lane.partition, opening=opening)
        adrift, died = lane.partition in self._adrift and not start.lost, lane.guard.died(start.crash)
        if opening and (adrift or died):
            end = (await self._consumer.end_offsets([lane.partition]))[lane.partition]
            if adrift and start.offset > end:
                what = f"{start.offset} is committed, and the log ends at {end}: was the topic made anew?"
                raise Unreadable(lane.partition, "offset_out_of_range", start.offset, end, what)
            start = replace(start, lag=max(0, end - start.offset))
        if opening:
            self._adrift.discard(lane.partition)
            self.unreadable.release(lane.partition)
        return start

    def _end_if_adrift(self, lane: Lane) -> None:
        if lane.adrift and not lane.ledger.posts and not lane.waiting:
            lane.end_after_release()

    async def _run(self, lane: Lane, delay_s: float) -> None:
        partition = lane.partition
        try:
            await lane.run(self._opened, delay_s)
            if lane.adrift and self._intake and self.lanes.get(partition) is lane:
                self._adrift.add(partition)
                self._begin(partition)
        except Fatal as error:
            self._fail(error)
        except Unreadable as error:
            if self._intake and self.lanes.get(partition) is lane:
                self._begin(partition, self.unreadable.hold(error))
        except Lost:
            # a new owner, or the broker gave up a transaction; if the group still says it is ours, begin anew
            _log.info("lane lost", topic=partition.topic, partition=partition.partition)
            self._at_work.abandon(partition)
            if self._intake and self.lanes.get(partition) is lane:
                self._losses[partition] += 1
                longest = min(_LONGEST_DELAY_S, 2.0 ** (self._losses[partition] - 1))
                if self._is_assigned(partition):
                    self._consumer.pause(partition)
                # two that both hold it for theirs must not march in step
                self._begin(partition, longest * random.uniform(0.5, 1))  # noqa: S311
            else:
                self.lanes.pop(partition, None)
            self._settled_one.set()
        except Exception as error:  # noqa: BLE001 - as for records
            _log.exception("a lane failed", topic=partition.topic, partition=partition.partition)
            self._fail(Fatal(f"the lane of {partition.topic}[{partition.partition}] failed: {type(error).__name__}"))

    def _opened(self, lane: Lane) -> None:
        place = {"topic": lane.partition.topic, "partition": lane.partition.partition}
        _log.info("lane open", **place, offset=lane.position)
        if lane.guard.suspects:
            _log.warning(
                "the last owner of a partition did not close it; records are taken one at a time",
                **place,
                records=lane.guard.suspects,
                attempts=lane.guard.deaths,
            )
        self._seek(lane)
        if self._is_assigned(lane.partition):
            self._consumer.resume(lane.partition)

    def _seek(self, lane: Lane) -> None:
        if self._is_assigned(lane.partition):
            self._consumer.seek(lane.partition, lane.position)

    def _is_assigned(self, partition: TopicPartition) -> bool:
        return partition in self._consumer.assignment()

    def _admit(self) -> None:
        self._notice_a_stall()
        if self._intake:
            for lane in self.lanes.values():
                if lane.guard.suspects and lane.ledger.posts and not lane.guard.survived:
                    lane.guard.survived = not lane.unproven or self._at_work.survives(lane.partition)
                    if not lane.guard.marked:
                        lane.write_mark()
            self._admission.admit(self.lanes.values(), self._at_work.start)
            self._gauge()

    def _notice_a_stall(self) -> None:
        """A process that stood still for a session was given up by its group: it counts as one that died."""
        now = time.monotonic()
        if now - self._seen_at > self._settings.session_timeout_s:
            self._owner = secrets.token_hex(4)
        self._seen_at = now

    def _died_on_a_record(self, error: Fatal) -> None:
        self._owner = secrets.token_hex(4)
        self._fail(error)

    def _fail(self, error: Fatal) -> None:
        self.failure = self.failure or error
        self._settled_one.set()

    def _settled(self, lane: Lane, release: Release[Finished]) -> None:
        self._losses.pop(lane.partition, None)
        for finished in release.results:
            tell(finished)
            self._breaker.saw(dead_letter=finished.outcome == "dead_letter")
        self._settled_one.set()
        self._take_again()
        self._admit()
        self._end_if_adrift(lane)

    def _gauge(self) -> None:
        metrics.IN_PROCESS.set(sum(lane.ledger.posts for lane in self.lanes.values()))
        metrics.IN_PROCESS_BYTES.set(sum(lane.ledger.size for lane in self.lanes.values()))
