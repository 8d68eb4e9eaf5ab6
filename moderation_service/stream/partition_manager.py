"""Partition manager: opens and closes a processor for each assigned partition, and feeds them within limits."""

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
from moderation_service.kafka.aiokafka_workarounds import CorruptBatch
from moderation_service.settings import KafkaSettings
from moderation_service.stream.admission import AdmissionController, DeadLetterBreaker, TaskRegistry
from moderation_service.stream.offset_tracker import Release
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.polling import HeldPartitions, ReadAhead, Unreadable
from moderation_service.stream.processing_result import ProcessingResult, ReceivedRecord, log_completion
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.publisher import PartitionFenced, publisher_of
from moderation_service.stream.resume_offset import ResumeOffset, resume_offset_of
from moderation_service.telemetry import metrics

_LAST_RELEASE_S = 0.8
_PASS_BY_EVERY_S = 1.0
_LONGEST_DELAY_S = 30.0
_log = structlog.get_logger(__name__)


class PartitionManager:
    """The processors, and what they have at work. `failure` is set where the process can't go on."""

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer, processing: RecordProcessor) -> None:
        """No processor is open yet."""
        self.processors: dict[TopicPartition, PartitionProcessor] = {}
        self.failure: Fatal | None = None
        self._settings = settings
        self._consumer = consumer
        self._tasks_of = TaskRegistry(processing, self._died_on_a_record)
        self._breaker = DeadLetterBreaker(settings)
        self.unreadable = HeldPartitions(settings)
        self._admission = AdmissionController(settings, consumer, self._breaker, self.unreadable)
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}
        self._losses: Counter[TopicPartition] = Counter()
        self._out_of_range: set[TopicPartition] = set()
        self._settled_one = asyncio.Event()
        self._intake = False
        self._pass_by_at = 0.0
        self._ended = False
        self._owner = secrets.token_hex(4)  # what this process is called in the notes of its processors
        self._seen_at = time.monotonic()

    @property
    def paused(self) -> bool:
        """Whether some processor takes nothing in because too much is in flight."""
        return any(processor.waiting or processor.given_back for processor in self.processors.values())

    @property
    def hungry(self) -> AbstractSet[TopicPartition]:
        """The partitions of which more may be read: nothing waits there."""
        if not self._intake:
            return frozenset()
        its = {
            partition for partition, processor in self.processors.items() if processor.is_open and not processor.full
        }
        return {partition for partition in its if not self.unreadable.is_waiting(partition)}

    @property
    def read_ahead(self) -> ReadAhead:
        """What may be read of them now."""
        waiting = (received.size for processor in self.processors.values() for received in processor.waiting)
        bounds = self._settings.max_in_flight_posts, self._settings.max_in_flight_bytes
        return ReadAhead(*bounds, len(self.processors), waiting)

    @property
    def held(self) -> bool:
        """Whether some processor can't publish."""
        return any(processor.held for processor in self.processors.values())

    @property
    def engine_held(self) -> bool:
        """Whether the engine finishes nothing."""
        return self._tasks_of.held

    @property
    def poisoned(self) -> bool:
        """Whether nothing is taken in because too many records became dead letters."""
        return self._breaker.is_open

    @property
    def lossy(self) -> bool:
        """Whether some partition lost records, and nobody acknowledged it."""
        return any(processor.note for processor in self.processors.values())

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin a processor for each; their records are dropped until it is open, and fetched again then."""
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
        """Stop intake, give what is in flight `budget_s` seconds, publish what is finished, end all processors."""
        self._notice_a_stall()
        self._intake = False
        unfinished = {
            processor.partition
            for processor in self.processors.values()
            if processor.tracker.posts or processor.waiting
        }
        for processor in self.processors.values():
            processor.waiting.clear()
            processor.drain()
        try:
            async with asyncio.timeout(budget_s):
                while any(processor.tracker.posts for processor in self.processors.values()):
                    self._settled_one.clear()
                    await self._settled_one.wait()
        except TimeoutError:
            left = sum(processor.tracker.posts for processor in self.processors.values())
            _log.info("posts are left to their next owner", posts=left)
        for partition in list(self.processors):
            self._tasks_of.abandon(partition)
        for partition, processor in self.processors.items():
            if processor.is_open:
                noteworthy = self._ended or partition in unfinished or processor.guard.suspects > 0
                processor.end_after_release(sign_off=noteworthy and processor.guard.owner == self._owner)
            else:
                self._running[partition].cancel()
        running = set(self._running.values())
        if running:
            _, late = await asyncio.wait(running, timeout=_LAST_RELEASE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self.processors.clear()
        self._running.clear()
        self._out_of_range.clear()
        self.unreadable.clear()
        self._gauge()

    def arrive(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Take records from the consumer.

        Raises Fatal where a processor does not take what it is given: a fault of ours, that waiting won't mend.
        """
        for partition, records in batches.items():
            processor = self.processors.get(partition)
            if processor is None or not processor.is_open or not self._intake:
                continue  # the processor seeks once it is open, and they come again
            if records[0].offset < processor.position:
                self.out_of_range({partition: processor.position})  # the topic was made anew
                continue
            self.unreadable.release(partition)
            for record in records:
                processor.waiting.append(ReceivedRecord.of(record))
                processor.position = record.offset + 1
        if not self.poisoned and not any(processor.tracker.posts for processor in self.processors.values()):
            self._take_again()  # nothing is in flight that could make room
        try:
            self._admit()
        except ValueError as error:
            msg = f"records did not come in the order of their offsets: {error}"
            raise Fatal(msg) from error
        self._give_back()

    def _give_back(self) -> None:
        """Let go of what waits beyond the bound of bytes; it is fetched again when something is published."""
        sizes = {
            processor: sum(received.size for received in processor.waiting)
            for processor in self.processors.values()
            if processor.waiting
        }
        while sum(sizes.values()) > self._settings.max_in_flight_bytes:
            largest = max(sizes, key=lambda processor: sizes[processor])
            del sizes[largest]
            largest.position = largest.waiting[0].record.offset
            largest.waiting.clear()
            largest.given_back = True
            self._seek(largest)

    def _take_again(self) -> None:
        processor = next((processor for processor in self.processors.values() if processor.given_back), None)
        if processor is not None:
            processor.given_back = False

    def forget_fetched(self) -> None:
        """Let go of what is fetched for processors that take nothing now."""
        for processor in self.processors.values():
            if processor.is_open and processor.full and not processor.is_out_of_range:
                self._seek(processor)

    def out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """What comes next in these is not in the log: what they have in flight is published, then they open anew."""
        for partition, offset in offsets.items():
            processor = self.processors.get(partition)
            if processor is not None and processor.is_open and offset >= processor.position:
                processor.is_out_of_range = True
                processor.drain()
                self._end_if_out_of_range(processor)

    def corrupt(self, batch: CorruptBatch) -> None:
        """Hold its partition: others go on, and it is fetched again after a while."""
        processor = self.processors.get(batch.partition)
        if processor is not None and processor.is_open:
            unreadable = Unreadable(batch.partition, "corrupt_batch", batch.offset, batch.next_offset, str(batch))
            self.unreadable.hold(unreadable)
            if self._is_assigned(batch.partition):
                self._consumer.pause(batch.partition)

    def pass_by(self, position: Callable[[TopicPartition], int | None]) -> None:
        """Once a second let idle processors commit the position of the consumer: it passes what is no record."""
        if not self._intake or time.monotonic() < self._pass_by_at:
            return
        self._pass_by_at = time.monotonic() + _PASS_BY_EVERY_S
        for partition in self.hungry & self._consumer.assignment():
            processor, offset = self.processors[partition], position(partition)
            if offset is not None and not processor.tracker.posts:
                processor.pass_by(offset)

    def rewind(self) -> None:
        """Fetch again what was not taken in."""
        self._notice_a_stall()
        for processor in self.processors.values():
            if processor.is_open and not processor.is_out_of_range:
                self._seek(processor)

    def _begin(self, partition: TopicPartition, delay_s: float = 0.0) -> None:
        publisher = publisher_of(self._settings, partition, self._consumer)
        processor = PartitionProcessor(partition, self._settings, publisher, self._start_of, self._settled, self._owner)
        self.processors[partition] = processor
        self._running[partition] = asyncio.create_task(self._run(processor, delay_s))

    async def _start_of(self, processor: PartitionProcessor) -> ResumeOffset:
        opening = not processor.is_open
        start = await resume_offset_of(self._settings, self._consumer, processor.partition, opening=opening)
        is_out_of_range, died = (
            processor.partition in self._out_of_range and not start.lost,
            processor.guard.died(start.crash),
        )
        if opening and (is_out_of_range or died):
            end = (await self._consumer.end_offsets([processor.partition]))[processor.partition]
            if is_out_of_range and start.offset > end:
                what = f"{start.offset} is committed, and the log ends at {end}: was the topic made anew?"
                raise Unreadable(processor.partition, "offset_out_of_range", start.offset, end, what)
            start = replace(start, lag=max(0, end - start.offset))
        if opening:
            self._out_of_range.discard(processor.partition)
            self.unreadable.release(processor.partition)
        return start

    def _end_if_out_of_range(self, processor: PartitionProcessor) -> None:
        if processor.is_out_of_range and not processor.tracker.posts and not processor.waiting:
            processor.end_after_release()

    async def _run(self, processor: PartitionProcessor, delay_s: float) -> None:
        partition = processor.partition
        try:
            await processor.run(self._opened, delay_s)
            if processor.is_out_of_range and self._intake and self.processors.get(partition) is processor:
                self._out_of_range.add(partition)
                self._begin(partition)
        except Fatal as error:
            self._fail(error)
        except Unreadable as error:
            if self._intake and self.processors.get(partition) is processor:
                self._begin(partition, self.unreadable.hold(error))
        except PartitionFenced:
            # a new owner, or the broker gave up a transaction; if the group still says it is ours, begin anew
            _log.info("partition lost", topic=partition.topic, partition=partition.partition)
            self._tasks_of.abandon(partition)
            if self._intake and self.processors.get(partition) is processor:
                self._losses[partition] += 1
                longest = min(_LONGEST_DELAY_S, 2.0 ** (self._losses[partition] - 1))
                if self._is_assigned(partition):
                    self._consumer.pause(partition)
                # two that both hold it for theirs must not march in step
                self._begin(partition, longest * random.uniform(0.5, 1))  # noqa: S311
            else:
                self.processors.pop(partition, None)
            self._settled_one.set()
        except Exception as error:  # noqa: BLE001 - as for records
            _log.exception("a partition failed", topic=partition.topic, partition=partition.partition)
            self._fail(Fatal(f"partition {partition.topic}[{partition.partition}] failed: {type(error).__name__}"))

    def _opened(self, processor: PartitionProcessor) -> None:
        place = {"topic": processor.partition.topic, "partition": processor.partition.partition}
        _log.info("partition open", **place, offset=processor.position)
        if processor.guard.suspects:
            _log.warning(
                "the last owner of a partition did not close it; records are taken one at a time",
                **place,
                records=processor.guard.suspects,
                attempts=processor.guard.deaths,
            )
        self._seek(processor)
        if self._is_assigned(processor.partition):
            self._consumer.resume(processor.partition)

    def _seek(self, processor: PartitionProcessor) -> None:
        if self._is_assigned(processor.partition):
            self._consumer.seek(processor.partition, processor.position)

    def _is_assigned(self, partition: TopicPartition) -> bool:
        return partition in self._consumer.assignment()

    def _admit(self) -> None:
        self._notice_a_stall()
        if self._intake:
            for processor in self.processors.values():
                if processor.guard.suspects and processor.tracker.posts and not processor.guard.survived:
                    processor.guard.survived = not processor.unproven or self._tasks_of.survives(processor.partition)
                    if not processor.guard.marked:
                        processor.write_mark()
            self._admission.admit(self.processors.values(), self._tasks_of.start)
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

    def _settled(self, processor: PartitionProcessor, release: Release[ProcessingResult]) -> None:
        self._losses.pop(processor.partition, None)
        for finished in release.results:
            log_completion(finished)
            self._breaker.record(dead_letter=finished.outcome == "dead_letter")
        self._settled_one.set()
        self._take_again()
        self._admit()
        self._end_if_out_of_range(processor)

    def _gauge(self) -> None:
        metrics.IN_PROCESS.set(sum(processor.tracker.posts for processor in self.processors.values()))
        metrics.IN_PROCESS_BYTES.set(sum(processor.tracker.size for processor in self.processors.values()))
