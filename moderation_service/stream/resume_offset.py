"""Where a partition resumes, and what the metadata of its committed offset says: losses, and poison-pill detection.

Where the log starts later than the committed offset, a loss marker is written there. It outlives restarts, until
`kafka.acknowledged_loss_offsets` names it. A crash marker says that a process died on a record.

The crash marker names the owner for as long as it may have records in flight; a clean close takes the name out again.
An owner that finds another's name knows that the other died, and takes what may have been in flight one record at a
time. Before each it writes that this record is attempted. A record whose attempts killed its owners is found so, and
never judged. The marker travels with the commits that are made anyway; it costs one more when a partition is first
taken from, and one when it is closed with records left.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka.aiokafka_workarounds import committed
from moderation_service.settings import KafkaSettings
from moderation_service.stream.polling import Unreadable

_LOSS = re.compile(r"lost below (\d+)")


# Deaths with no other record of the partition in flight. From the second attempt on the record is alone in the whole
# process: a kill from outside then meets the same record twice in a row very rarely, and once quite often.
ATTEMPTS = 3
_CRASH = re.compile(r"(?:owner (\w+); )?attempts (\d+); suspects (\d+)")


@dataclass(frozen=True, slots=True)
class CrashMarker:
    """`attempts` are of the first record at the committed offset; `suspects` counts the records from there on."""

    owner: str = ""  # who may have records in flight; empty after a clean close
    attempts: int = 0
    suspects: int = 0  # are taken one at a time

    @classmethod
    def of(cls, metadata: str) -> Self:
        """Read it from a committed offset's metadata; what has none is clean."""
        found = _CRASH.search(metadata)
        return cls(found[1] or "", int(found[2]), int(found[3])) if found else cls()

    def metadata(self) -> str:
        """As it is committed; empty for a clean one."""
        if self == CrashMarker():
            return ""
        owner = f"owner {self.owner}; " if self.owner else ""
        return f"{owner}attempts {self.attempts}; suspects {self.suspects}"

    def tells_of_a_crash(self, owner: str) -> bool:
        """Whether another owner than this one ended without saying so."""
        return bool(owner and self.owner) and self.owner != owner


class CrashGuard:
    """Poison-pill detection: what the crash marker must say before the next record is taken. Off without an owner."""

    def __init__(self, owner: str = "") -> None:
        """Nothing is known yet; `owner` is unique to a process."""
        self.owner = owner
        self.written = CrashMarker()
        self.suspects = 0
        self.deaths = 0  # of owners that had the next record alone
        self.survived = False  # the record that is in flight has shown that it does not kill

    def open(self, found: CrashMarker, lag: int) -> None:
        """Begin with what the last owner left; `lag` is how many records may have been in flight when it died."""
        ours = found.owner == self.owner
        self.written = found
        self.suspects = found.suspects or (lag if found.tells_of_a_crash(self.owner) else 0)
        self.deaths = max(0, found.attempts - ours) if self.suspects else 0

    @property
    def should_dead_letter(self) -> bool:
        """Whether the next record is not judged any more."""
        return self.deaths >= ATTEMPTS

    @property
    def must_run_alone(self) -> bool:
        """Whether the next record is taken with nothing else in flight in the whole process: it may have killed one."""
        return 0 < self.deaths < ATTEMPTS and not self.survived

    @property
    def mark(self) -> CrashMarker:
        """What is to be written before the next record is taken."""
        attempts = self.deaths + (not self.survived) if self.suspects else 0
        return CrashMarker(self.owner, attempts, self.suspects)

    @property
    def marked(self) -> bool:
        """Whether that is written."""
        return not self.owner or self.written == self.mark

    def after(self, settled: int, *, left: int, waiting: bool, closing: bool) -> CrashMarker:
        """What a commit of `settled` records says, where `left` others stay in flight."""
        if not self.owner:
            return CrashMarker()
        suspects = max(0, self.suspects - settled)
        if closing and not left:
            return CrashMarker(suspects=suspects)
        return CrashMarker(self.owner, int(waiting and suspects > 0), suspects)

    @property
    def closed(self) -> CrashMarker:
        """What a clean close writes: no owner, and what was found out before."""
        return replace(self.mark, owner="", attempts=self.deaths)

    def settle(self, marker: CrashMarker) -> None:
        """Records were committed with this marker."""
        self.written, self.suspects = marker, marker.suspects
        self.deaths, self.survived = 0, False


@dataclass(frozen=True, slots=True)
class ResumeOffset:
    """Where a partition resumes, and what was found there."""

    offset: int
    is_committed: bool = True
    loss_marker: str = ""  # for every commit
    lost: int = 0  # offsets before it that are gone
    crash_marker: CrashMarker = field(default_factory=CrashMarker)  # of the last owner
    lag: int = 0  # how far the log goes on, where that owner died


@dataclass(frozen=True, slots=True)
class ResumeOffsetFinder:
    """Asks the brokers where a partition resumes for this owner."""

    settings: KafkaSettings
    consumer: AIOKafkaConsumer
    partition: TopicPartition
    owner: str = ""
    was_out_of_range: bool = False  # the consumer just said that what came next is not in the log

    async def find(self, *, opening: bool) -> ResumeOffset:
        """Read the committed offset; the log's edges matter only when `opening`: later its records are in memory.

        Raises Unreadable where the log ends before it, and aiokafka's errors where the broker does not answer.
        """
        found = await committed(self.consumer, self.partition, stable=self.settings.delivery == "exactly_once")
        if found is None:
            edge = self._end if self.settings.auto_offset_reset == "latest" else self._beginning
            return ResumeOffset(await edge(), is_committed=False)
        known = self.settings.acknowledged_loss(self.partition.topic, self.partition.partition)
        begin = await self._beginning() if opening else 0
        if found.offset < begin:
            marker = f"lost below {begin}" if known < begin else ""
            return ResumeOffset(begin, is_committed=False, loss_marker=marker, lost=begin - found.offset)
        crash, loss = CrashMarker.of(found.metadata), _LOSS.search(found.metadata)
        marker, lag = loss[0] if loss and known < int(loss[1]) else "", 0
        if opening and (self.was_out_of_range or crash.tells_of_a_crash(self.owner)):
            end = await self._end()
            if self.was_out_of_range and found.offset > end:
                what = f"{found.offset} is committed, and the log ends at {end}: was the topic made anew?"
                raise Unreadable(self.partition, "offset_out_of_range", found.offset, end, what)
            lag = max(0, end - found.offset)
        return ResumeOffset(found.offset, loss_marker=marker, crash_marker=crash, lag=lag)

    async def _beginning(self) -> int:
        offsets: dict[TopicPartition, int] = await self.consumer.beginning_offsets([self.partition])
        return offsets[self.partition]

    async def _end(self) -> int:
        offsets: dict[TopicPartition, int] = await self.consumer.end_offsets([self.partition])
        return offsets[self.partition]
