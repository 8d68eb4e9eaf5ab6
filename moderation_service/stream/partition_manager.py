"""Partition manager: opens and closes a processor for each assigned partition, and feeds them within limits."""

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.backoff import Backoff
from moderation_service.errors import Fatal
from moderation_service.settings import KafkaSettings
from moderation_service.stream.admission import AdmissionController
from moderation_service.stream.delivery import Delivery
from moderation_service.stream.offset_tracker import Release
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.polling import Polled, Unreadable
from moderation_service.stream.processing_result import ProcessingResult, ReceivedRecord, crashed_worker, log_completion
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.publisher import ProducerFenced, publisher_for
from moderation_service.stream.resume_offset import ResumeOffsetFinder
from moderation_service.telemetry import metrics

_FENCED_BACKOFF = Backoff(
    first_s=1.0, longest_s=30.0
)  # two that both hold a partition for theirs must not march in step
_LAST_RELEASE_S = 0.8
_log = structlog.get_logger(__name__)


class PartitionManager:
    """The processors, and what they have at work. `failure` is set where the process can't go on."""

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer, records: RecordProcessor) -> None:
        self.processors: dict[TopicPartition, PartitionProcessor] = {}
        self.failure: Fatal | None = None
        self.admission = AdmissionController(settings, consumer, self.processors)
        self._settings = settings
        self._consumer = consumer
        self._record_processor = records
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}
        self._judging: defaultdict[TopicPartition, set[asyncio.Task[None]]] = defaultdict(set)
        self._fenced: Counter[TopicPartition] = Counter()
        self._out_of_range: set[TopicPartition] = set()
        self._progress = asyncio.Event()
        self._ended = False
        self._owner = secrets.token_hex(4)  # what this process is called in the crash markers of its partitions
        self._seen_at = time.monotonic()

    @property
    def blocked_by(self) -> set[str]:
        """What keeps posts from being finished, as `engine`; empty while they are."""
        return self._record_processor.blocked_by

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin a processor for each; their records are dropped until it is open, and fetched again then."""
        if self._ended:
            return
        self._notice_a_stall()
        self.admission.accepts = True
        for partition in partitions:
            self._consumer.pause(partition)
            self._begin(partition)

    async def close(self, budget_s: float, *, for_good: bool = False) -> None:
        """Stop intake, give what is in flight `budget_s` seconds, publish what is finished, end all processors.

        Once closed `for_good`, what the group still assigns is not opened.
        """
        self._ended = self._ended or for_good
        self._notice_a_stall()
        self.admission.accepts = False
        processors = self.processors.values()
        unfinished = {its.partition for its in processors if its.tracker.posts or its.waiting}
        for processor in processors:
            processor.waiting.clear()
            processor.drain()
        try:
            async with asyncio.timeout(budget_s):
                while any(processor.tracker.posts for processor in processors):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            _log.info(
                "drain timed out; the next owner will judge these posts again",
                posts=sum(its.tracker.posts for its in processors),
            )
        for partition, processor in self.processors.items():
            self._abandon(partition)
            if processor.is_open:
                noteworthy = self._ended or partition in unfinished or processor.guard.suspects > 0
                processor.stop_after_publish(write_clean_close=noteworthy and processor.guard.owner == self._owner)
            else:
                self._running[partition].cancel()
        if running := set(self._running.values()):
            _, late = await asyncio.wait(running, timeout=_LAST_RELEASE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self.processors.clear()
        self._running.clear()
        self._out_of_range.clear()
        self.admission.unreadable.clear()
        self._gauge()

    def receive(self, polled: Polled) -> None:
        """Take in what a poll found.

        Raises Fatal where a processor does not take what it is given: a fault of ours, that waiting won't mend.
        """
        self._notice_a_stall()
        if not self.admission.accepts:
            return  # it is fetched again by whoever opens the partition
        self.admission.receive(polled)
        if polled.failed:
            self.admission.rewind()
        try:
            self._admit()
        except ValueError as error:
            msg = f"records did not come in the order of their offsets: {error}"
            raise Fatal(msg) from error
        self.admission.evict_queued()
        self.admission.commit_positions()

    def _admit(self) -> None:
        """Begin what may begin."""
        self._notice_a_stall()
        if not self.admission.accepts:
            return
        for processor in self.processors.values():
            if processor.guard.suspects:
                processor.check_survival(is_retried=self._record_processor.is_retrying(processor.partition))
        for processor, received in self.admission.admit():
            metrics.RECEIVED.inc()
            # a deletion has nothing to die on
            if processor.guard.should_dead_letter and received.record.value is not None:
                deadly = crashed_worker(received, self._settings, attempts=processor.guard.deaths + 1)
                if self._record_processor.judge.has_routes:
                    deadly.withhold_content()
                processor.finish(received.record.offset, deadly)
                continue
            task = asyncio.create_task(self._judge(processor, received))
            self._judging[processor.partition].add(task)
            task.add_done_callback(self._judging[processor.partition].discard)
        self._gauge()

    async def _judge(self, processor: PartitionProcessor, received: ReceivedRecord) -> None:
        try:
            result = await self._record_processor.process(received)
            processor.finish(received.record.offset, result)
        except Exception as error:  # noqa: BLE001 - a bug must stop the process, not the partition
            self._owner = secrets.token_hex(4)  # to the next owner this one died on the record
            self._fail(error, "a record could not be finished", processor.partition)

    def _abandon(self, partition: TopicPartition) -> None:
        """Leave what is not finished to the partition's next owner."""
        for task in self._judging.pop(partition, ()):
            task.cancel()

    def _begin(self, partition: TopicPartition, delay_s: float = 0.0) -> None:
        settings, consumer, out_of_range = self._settings, self._consumer, partition in self._out_of_range
        finder = ResumeOffsetFinder(settings, consumer, partition, self._owner, was_out_of_range=out_of_range)
        delivery = Delivery(partition, settings, publisher_for(settings, partition, consumer), finder)
        processor = self.processors[partition] = PartitionProcessor(partition, settings, delivery, self._owner)
        self._running[partition] = asyncio.create_task(self._run(processor, delay_s))

    async def _run(self, processor: PartitionProcessor, delay_s: float) -> None:
        """Serve a partition; where it ends and is still ours, begin anew."""
        partition = processor.partition

        def is_ours() -> bool:
            return self.admission.accepts and self.processors.get(partition) is processor

        try:
            await self._serve(processor, delay_s)
            if processor.is_out_of_range and is_ours():
                self._out_of_range.add(partition)
                self._begin(partition)
        except Unreadable as error:
            if is_ours():
                self._begin(partition, self.admission.unreadable.block(error))
        except ProducerFenced:
            # a new owner, or the broker gave up a transaction; if the group still says it is ours, begin anew
            _log.info("partition lost", topic=partition.topic, partition=partition.partition)
            self._abandon(partition)
            if is_ours():
                self._fenced[partition] += 1
                self.admission.pause(partition)
                self._begin(partition, _FENCED_BACKOFF.delay_s(self._fenced[partition]))
            else:
                self.processors.pop(partition, None)
            self._progress.set()
        except Exception as error:  # noqa: BLE001 - as for records
            self._fail(error, "a partition failed", partition)

    async def _serve(self, processor: PartitionProcessor, delay_s: float) -> None:
        """Open the partition, and publish what is finished until it is to end."""
        partition = processor.partition
        try:
            await asyncio.sleep(delay_s)
            await processor.open()
            self._out_of_range.discard(partition)
            self.admission.unreadable.release(partition)
            place = {"topic": partition.topic, "partition": partition.partition}
            _log.info("partition open", **place, offset=processor.position)
            if processor.guard.suspects:
                _log.warning(
                    "the last owner of a partition did not close it; records are taken one at a time",
                    **place,
                    records=processor.guard.suspects,
                    attempts=processor.guard.deaths,
                )
            self.admission.seek(processor)
            if partition in self._consumer.assignment():
                self._consumer.resume(partition)
            while (release := await processor.publish_next()) is not None:
                self._settle(processor, release)
        finally:
            await processor.close()

    def _settle(self, processor: PartitionProcessor, release: Release[ProcessingResult]) -> None:
        """Log what was published, and use the room that it leaves."""
        self._fenced.pop(processor.partition, None)
        for result in release.results:
            log_completion(result)
            self.admission.breaker.record(dead_letter=result.outcome == "dead_letter")
        self._progress.set()
        self.admission.allow_refetch()
        self._admit()
        processor.end_if_out_of_range()

    def _notice_a_stall(self) -> None:
        """A process that stood still for a session was given up by its group: it counts as one that died."""
        now = time.monotonic()
        if now - self._seen_at > self._settings.session_timeout_s:
            self._owner = secrets.token_hex(4)
        self._seen_at = now

    def _fail(self, error: Exception, what: str, partition: TopicPartition) -> None:
        """Stop the process."""
        if not isinstance(error, Fatal):
            _log.exception(what, topic=partition.topic, partition=partition.partition)
            error = Fatal(f"{partition.topic}[{partition.partition}]: {what}: {type(error).__name__}")
        self.failure = self.failure or error
        self._progress.set()

    def _gauge(self) -> None:
        metrics.IN_PROCESS.set(sum(processor.tracker.posts for processor in self.processors.values()))
        metrics.IN_PROCESS_BYTES.set(sum(processor.tracker.size for processor in self.processors.values()))
