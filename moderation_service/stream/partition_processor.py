"""Partition processor: one partition's waiting records, offset tracker and delivery; it publishes in offset order.

Finished posts leave a batch at a time; a rate limiter lets a small batch wait for more. What was judged is not judged
again: after a failure it is delivered anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from aiokafka import TopicPartition

from moderation_service.settings import KafkaSettings
from moderation_service.stream.delivery import Delivery
from moderation_service.stream.offset_tracker import OffsetTracker, Release
from moderation_service.stream.processing_result import ProcessingResult, ReceivedRecord
from moderation_service.stream.resume_offset import CrashGuard, CrashMarker

ENOUGH_POSTS = 16
"""So many posts in a transaction make its cost small beside theirs."""

_PROVEN_S = 30.0  # a record that has been in flight for longer does not kill the process


class Linger:
    """Rate limiter of small transactions: knows when the last one began, and whether it was small."""

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

    def __init__(self, partition: TopicPartition, settings: KafkaSettings, delivery: Delivery, owner: str = "") -> None:
        """`owner` names this process in crash markers; without it there are none."""
        self.partition = partition
        self.delivery = delivery
        self.waiting: deque[ReceivedRecord] = deque()
        self.tracker: OffsetTracker[ProcessingResult] = OffsetTracker()
        self.guard = CrashGuard(owner)
        self.position = -1  # the next offset to take from the consumer
        self.is_open = False
        self.is_out_of_range = False  # what comes next is not in the log; when nothing is in flight, it ends
        self.awaiting_refetch = False  # queued records were evicted for their size; fetched again after a publish
        self.taken_at = float("-inf")  # the last record, seconds of the monotonic clock
        self.marking = False  # the guard's marker is to be written, or just being written
        self._most_suspects = settings.max_in_flight_posts
        self._bounds = settings.max_batch_posts, settings.max_message_bytes
        self._linger = Linger(settings.linger_ms / 1000)
        self._undelivered: deque[Release[ProcessingResult]] = deque()  # parts of the last release
        self._wake = asyncio.Event()
        self._draining = False
        self._last_one = False
        self._write_clean_close = False
        self._idle_position = -1

    async def open(self) -> None:
        """Fence the former owner, and learn where to begin. Raises ProducerFenced, Fatal and Unreadable."""
        resume = await self.delivery.open()
        self.position = resume.offset
        self.guard.open(resume.crash_marker, min(resume.lag, self._most_suspects))
        self.is_open = True

    async def close(self) -> None:
        """End in bounded time; what is not published is left to the next owner."""
        self.is_open = False
        await self.delivery.close()

    async def publish_next(self) -> Release[ProcessingResult] | None:
        """Publish what is due next, and return it; None where this was told to end.

        An empty release says that a crash marker is written: its record may be taken. Raises ProducerFenced.
        """
        while True:
            due_s = self._due_in_s()
            if due_s == 0 and (release := self.tracker.release(*self._bounds)):
                self._linger.began(len(release.offsets))
                self._undelivered.append(release)
            if self._undelivered:
                return await self._deliver()
            if due_s is None and self._last_one:
                if self._write_clean_close and self.guard.owner and self.guard.written.owner == self.guard.owner:
                    await self._commit(self.delivery.committed, self.guard.closed)
                return None
            if self._idle_position > self.delivery.committed and not self.tracker.posts:
                passed, self._idle_position = self._idle_position, -1
                await self._commit(passed, replace(self.guard.written, attempts=0))
                self.guard.deaths = 0  # that record is gone
            if self.marking:
                if not self.guard.marked:
                    await self._commit(self.delivery.committed, self.guard.mark)
                self.marking = False
                return Release([], [])
            await self._woken(due_s)

    def take(self) -> ReceivedRecord:
        """Let the next record that waits begin."""
        received = self.waiting.popleft()
        self.tracker.take(received.record.offset, received.size)
        self.taken_at = time.monotonic()
        return received

    def finish(self, offset: int, result: ProcessingResult) -> None:
        """A record in flight became something to publish."""
        self.tracker.finish(offset, result, sum(output.size for output in result.outputs))
        self._wake.set()

    def drain(self) -> None:
        """From now on publish what is finished at once: nothing more is taken in."""
        self._draining = True
        self._wake.set()

    def stop_after_publish(self, *, write_clean_close: bool = False) -> None:
        """Publish what is finished, then end. `write_clean_close` notes that this was no crash."""
        self._last_one, self._write_clean_close = True, write_clean_close
        self.drain()

    def end_if_out_of_range(self) -> None:
        """End where nothing is left of a partition whose next offset is not in the log."""
        if self.is_out_of_range and not self.tracker.posts and not self.waiting:
            self.stop_after_publish()

    def commit_idle_position(self, offset: int) -> None:
        """Nothing before `offset` is left to take, though the last record lies further back: commit it when idle."""
        if offset > self.delivery.committed:
            self._idle_position = offset
            self._wake.set()

    @property
    def full(self) -> bool:
        """Whether nothing more may be read for now."""
        return bool(self.waiting) or self.is_out_of_range or self.awaiting_refetch

    @property
    def unproven(self) -> bool:
        """Whether something is in flight that may still kill the process."""
        return bool(self.tracker.posts) and not self.guard.survived and time.monotonic() - self.taken_at < _PROVEN_S

    def prepare_next(self) -> bool:
        """Whether the next record that waits may begin. Where only its crash marker is missing, that is asked for."""
        if not self.is_open or not self.waiting or (self.guard.suspects and self.tracker.posts):
            return False
        if self.guard.marked or self.guard.should_dead_letter:
            return True
        self._write_marker()
        return False

    def check_survival(self, *, is_retried: bool) -> None:
        """Let the guard know where the suspect in flight has not killed the process."""
        if self.guard.suspects and self.tracker.posts and not self.guard.survived:
            self.guard.survived = is_retried or not self.unproven
            if not self.guard.marked:
                self._write_marker()

    def _write_marker(self) -> None:
        self.marking = True
        self._wake.set()

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

    async def _deliver(self) -> Release[ProcessingResult]:
        """Publish the next release or part of one, for as long as it takes; and settle it."""
        failures = 0
        while True:
            release = self._undelivered.popleft()
            marker = self._marker_after(release)
            left = await self.delivery.publish(release, marker, failures)
            if not left:
                self.tracker.settle(release)
                self.guard.settle(marker)
                return release
            failures = failures + 1 if left[0] is release else 0
            self._undelivered.extendleft(reversed(left))

    async def _commit(self, offset: int, marker: CrashMarker) -> None:
        if await self.delivery.commit(offset, marker):
            self.guard.written = marker

    def _marker_after(self, release: Release[ProcessingResult]) -> CrashMarker:
        settled, waiting = len(release.offsets), bool(self.waiting)
        return self.guard.after(settled, left=self.tracker.posts - settled, waiting=waiting, closing=self._draining)
