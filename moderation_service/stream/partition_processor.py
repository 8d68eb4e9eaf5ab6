"""Partition processor: one partition's waiting records, offset tracker and producer; it publishes in offset order.

It opens by starting its producer, which fences whoever held the partition, and only then reads the committed offset.
Finished posts leave a batch at a time; a rate limiter lets a small batch wait for more. After a failure whose outcome
is unknown it opens anew in the same way, and the committed offset says whether the batch went through: what was judged
is not judged again.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition

from moderation_service.errors import Fatal
from moderation_service.settings import KafkaSettings
from moderation_service.stream.offset_tracker import OffsetTracker, Release
from moderation_service.stream.polling import Unreadable
from moderation_service.stream.processing_result import ProcessingResult
from moderation_service.stream.publisher import PartitionFenced, Publisher, TooLarge
from moderation_service.stream.resume_offset import CrashGuard, CrashNote, ResumeOffset
from moderation_service.telemetry import metrics

if TYPE_CHECKING:
    from moderation_service.stream.processing_result import ReceivedRecord

ENOUGH_POSTS = 16
"""So many posts in a transaction make its cost small beside theirs."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_PROVEN_S = 30.0  # a record that has been in flight for longer does not kill the process
_SINGLY_POSTS = 16  # in one transaction while each output is waited for
_log = structlog.get_logger(__name__)


class Linger:
    """Knows when the last transaction began, and whether it was small."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """No transaction has begun yet. With 0 seconds none ever waits."""
        self._seconds = seconds
        self._clock = clock
        self._next_at = float("-inf")

    @property
    def remaining_s(self) -> float:
        """Seconds until the next small transaction may begin."""
        return max(0.0, self._next_at - self._clock())

    def began(self, posts: int) -> None:
        """A transaction of so many posts begins now."""
        self._next_at = self._clock() + (self._seconds if posts < ENOUGH_POSTS else 0.0)


class PartitionProcessor:
    """Taken records wait here, are in flight, are finished, and leave published; in offset order."""

    def __init__(
        self,
        partition: TopicPartition,
        settings: KafkaSettings,
        publisher: Publisher,
        start: Callable[["PartitionProcessor"], Awaitable[ResumeOffset]],
        settled: Callable[["PartitionProcessor", Release[ProcessingResult]], None],
        owner: str = "",
    ) -> None:
        """`start` gives where to begin, also anew; `settled` hears of releases, and of an empty one when `ready`.

        `owner` names this process in the notes that tell of crashes; without it there are none.
        """
        self.partition = partition
        self.waiting: deque[ReceivedRecord] = deque()
        self.tracker: OffsetTracker[ProcessingResult] = OffsetTracker()
        self.position = -1  # the next offset to take from the consumer
        self.committed = -1
        self.is_open = False
        self.held = False
        self.is_out_of_range = False  # what comes next is not in the log; when nothing is in flight, it ends
        self.given_back = False  # what waited was let go for its size; when something is published it may come again
        self.note = ""  # of a loss that nobody acknowledged
        self.guard = CrashGuard(owner)
        self.taken_at = float("-inf")  # the last record, seconds of the monotonic clock
        self.marking = False  # the guard's note is to be written, or just being written
        self._settings = settings
        self._publisher = publisher
        self._start = start
        self._settled = settled
        self._bounds = settings.max_batch_posts, settings.max_message_bytes
        self._wake = asyncio.Event()
        self._linger = Linger(settings.linger_ms / 1000)
        self._draining = False
        self._last_one = False
        self._sign_off = False
        self._passed = -1
        self._log = _log.bind(topic=partition.topic, partition=partition.partition)

    def finish(self, offset: int, finished: ProcessingResult) -> None:
        """A record in flight became something to publish."""
        self.tracker.finish(offset, finished, sum(output.size for output in finished.outputs))
        self._wake.set()

    def drain(self) -> None:
        """From now on publish what is finished at once: nothing more is taken in."""
        self._draining = True
        self._wake.set()

    def end_after_release(self, *, sign_off: bool = False) -> None:
        """Publish what is finished, then end; `sign_off`: note that this was no crash, if it is not noted yet."""
        self._last_one, self._sign_off = True, sign_off
        self.drain()

    @property
    def full(self) -> bool:
        """Whether nothing more may be read for now."""
        return bool(self.waiting) or self.is_out_of_range or self.given_back

    @property
    def ready(self) -> bool:
        """Whether the next record that waits may be taken. Has the guard's note written where only that is missing."""
        if not self.is_open or not self.waiting or (self.guard.suspects and self.tracker.posts):
            return False
        if self.guard.marked or self.guard.convicts:
            return True
        self.write_mark()
        return False

    @property
    def unproven(self) -> bool:
        """Whether something is in flight that may still kill the process."""
        return bool(self.tracker.posts) and not self.guard.survived and time.monotonic() - self.taken_at < _PROVEN_S

    def write_mark(self) -> None:
        """Commit what the guard has to say now."""
        self.marking = True
        self._wake.set()

    def pass_by(self, offset: int) -> None:
        """Nothing before `offset` is left to take, though the last record lies further back: commit it when idle."""
        if offset > self.committed:
            self._passed = offset
            self._wake.set()

    async def run(self, opened: Callable[["PartitionProcessor"], None], delay_s: float = 0.0) -> None:
        """Open, call `opened`, and publish until told to end.

        Raises Lost when somebody else took the partition, Fatal and Unreadable where `start` does.
        """
        try:
            await asyncio.sleep(delay_s)
            start = await self._open()
            self.position = self.committed = start.offset
            self.guard.open(start.crash, min(start.lag, self._settings.max_in_flight_posts))
            self._tell_of_loss(start)
            self.is_open = True
            self.held = False
            opened(self)
            while True:
                due_s = self._due_in_s()
                if due_s == 0 and (release := self.tracker.release(*self._bounds)):
                    self._linger.began(len(release.offsets))
                    await self._deliver(release)
                    continue
                if due_s is None and self._last_one:
                    if self._sign_off and self.guard.owner and self.guard.written.owner == self.guard.owner:
                        await self._commit(self.committed, self.guard.closed)
                    return
                if self._passed > self.committed and not self.tracker.posts:
                    passed, self._passed = self._passed, -1
                    await self._commit(passed, replace(self.guard.written, attempts=0))
                    self.guard.deaths = 0  # that record is gone
                if self.marking:
                    if not self.guard.marked:
                        await self._commit(self.committed, self.guard.mark)
                    self.marking = False
                    self._settled(self, Release([], []))
                await self._woken(due_s)
        finally:
            self.is_open = False
            await self._publisher.close()

    def _due_in_s(self) -> float | None:
        """Seconds until what is finished should be published; None where nothing is.

        At once where there is enough of it, and where nothing can join it: other posts wait for its room.
        """
        max_posts, max_bytes = self._bounds
        enough = min(max_posts, ENOUGH_POSTS)
        posts, size = self.tracker.ready(enough)
        if not posts:
            return None
        alone = bool(self.waiting) and posts == self.tracker.posts
        if self._draining or posts == enough or size >= max_bytes or alone:
            return 0.0
        return self._linger.remaining_s

    async def _woken(self, within_s: float | None) -> None:
        """Wait for news, or so long."""
        timer = None if within_s is None else asyncio.get_running_loop().call_later(within_s, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()

    async def _open(self) -> ResumeOffset:
        """Start the producer, then read the committed offset; for as long as it takes."""
        pause, lost = _FIRST_PAUSE_S, 0
        while True:
            try:
                await self._publisher.start()
                async with asyncio.timeout(self._settings.request_timeout_s):
                    start = await self._start(self)
                self.note, lost = start.note, max(lost, start.lost)  # once it is noted, it is not found again
                if not start.pinned and not self.is_open:  # `latest` would skip what precedes the first commit
                    await self._publisher.publish([], start.offset, note=start.note)
            except (PartitionFenced, Fatal, Unreadable):
                raise
            except Exception as error:  # noqa: BLE001 - aiokafka also raises assertions and index errors
                self._hold("a partition does not open", error)
            else:
                return replace(start, lost=lost)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads processors, hides nothing
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _deliver(self, release: Release[ProcessingResult], *, singly: bool = False) -> None:
        """Publish one release with its offset, for as long as it takes. Raises Lost.

        Where an output is refused for its size, the release goes in small parts, and `singly`: to learn which it is.
        A part that takes too long so goes in halves.
        """
        pause, begun = _FIRST_PAUSE_S, time.monotonic()
        while True:
            part_posts = 0
            try:
                outputs = [output for finished in release.results for output in finished.outputs]
                crash = self._crash_note(release)
                note = self._noted(crash)
                await self._publisher.publish(outputs, release.next_offset, note=note, singly=singly)
            except PartitionFenced:
                metrics.COMMITS.labels("fenced").inc()
                raise
            except TooLarge as refusal:
                metrics.COMMITS.labels("failed").inc()
                smaller = _with_smaller(release, refusal.index)
                if singly and smaller is release:
                    self._hold("an output is too large for its topic, and there is no smaller form", refusal)
                release, part_posts = smaller, 0 if singly else _SINGLY_POSTS
            except Exception as error:  # noqa: BLE001 - whatever it was, the outcome is unknown and the offset tells it
                metrics.COMMITS.labels("failed").inc()
                self._hold("a release has an unknown outcome", error)
                part_posts = len(release.offsets) // 2 if singly else 0
            else:
                break
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            if await self._had_gone_through(release):
                break
            self._log.info("publishing again", posts=len(release.offsets), seconds=round(time.monotonic() - begun, 2))
            if part_posts:
                for part in release.parts(part_posts):
                    await self._deliver(part, singly=True)
                return
        self.held = False
        self.committed = max(self.committed, release.next_offset)
        self.tracker.settle(release)
        self.guard.settle(crash)
        metrics.COMMITS.labels("done").inc()
        metrics.BATCH_SIZE.observe(len(release.offsets))
        self._settled(self, release)

    async def _had_gone_through(self, release: Release[ProcessingResult]) -> bool:
        """Open anew, and see by the committed offset. Raises Lost."""
        committed = (await self._open()).offset
        if committed == release.next_offset:
            self._log.info("the release had gone through", next_offset=committed)
            return True
        if committed > self.committed:  # not by us: the partition was somebody else's meanwhile
            raise PartitionFenced
        return False

    async def _commit(self, offset: int, crash: CrashNote) -> None:
        """Commit without a record: past markers of transactions, or a note alone. Raises Lost.

        What fails is not tried again: it is asked for again where it still matters.
        """
        try:
            await self._publisher.publish([], offset, note=self._noted(crash))
        except PartitionFenced:
            raise
        except Exception as error:
            self._hold("a commit has an unknown outcome", error)
            found = (await self._open()).offset
            if found not in {self.committed, offset}:
                raise PartitionFenced from error
            self.held = False
            self.committed = found
        else:
            self.committed, self.guard.written = offset, crash
            metrics.COMMITS.labels("done").inc()

    def _crash_note(self, release: Release[ProcessingResult]) -> CrashNote:
        settled = len(release.offsets)
        left, waiting = self.tracker.posts - settled, bool(self.waiting)
        return self.guard.after(settled, left=left, waiting=waiting, closing=self._draining)

    def _noted(self, crash: CrashNote) -> str:
        return "; ".join(filter(None, (self.note, crash.metadata())))

    def _tell_of_loss(self, start: ResumeOffset) -> None:
        if start.lost:
            metrics.LOST.inc(start.lost)
        if start.lost or self.note:
            self._log.error(
                "records were deleted from the log before they were judged",
                offsets_lost_now=start.lost,
                acknowledge=None if not self.note else f"kafka.acknowledged_loss_offsets: {self.note}",
            )

    def _hold(self, what: str, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            metrics.STUCK.inc()
        self.held = True
        self._log.warning(what, error=f"{type(error).__name__}: {error}"[:300])


def _with_smaller(release: Release[ProcessingResult], refused: int | None) -> Release[ProcessingResult]:
    """The release with a smaller form of that whose output was refused; itself where there is none, or no index."""
    if refused is None:
        return release
    of_output = [index for index, finished in enumerate(release.results) for _ in finished.outputs]
    index = of_output[refused]
    smaller = release.results[index].smaller
    if smaller is None:
        return release
    return Release(release.offsets, [*release.results[:index], smaller(), *release.results[index + 1 :]])
