"""Where a partition resumes, and what the metadata of its committed offset says: losses, and poison-pill detection.

Where the log starts later than the committed offset, the loss is noted there, so that it outlives restarts, until
`kafka.acknowledged_loss_offsets` names it. A crash note says that a process died on a record.

The note names the owner for as long as it may have records in flight; a clean close takes the name out again. An owner
that finds another's name knows that the other died, and takes what may have been in flight one record at a time. Before
each it writes that this record is attempted. A record whose attempts killed its owners is found so, and never judged.
The note travels with the commits that are made anyway; it costs one more when a partition is first taken from, and one
when it is closed with records left.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka.aiokafka_workarounds import committed
from moderation_service.settings import KafkaSettings

_NOTE = re.compile(r"lost below (\d+)")


# Deaths with no other record of the partition in flight. From the second attempt on the record is alone in the whole
# process: a kill from outside then meets the same record twice in a row very rarely, and once quite often.
ATTEMPTS = 3
_FORM = re.compile(r"(?:owner (\w+); )?attempts (\d+); suspects (\d+)")


@dataclass(frozen=True, slots=True)
class CrashNote:
    """`attempts` are of the first record at the committed offset; `suspects` counts the records from there on."""

    owner: str = ""  # who may have records in flight; empty after a clean close
    attempts: int = 0
    suspects: int = 0  # are taken one at a time

    @classmethod
    def of(cls, metadata: str) -> Self:
        """Read it from a committed offset's metadata; what has none is clean."""
        found = _FORM.search(metadata)
        return cls(found[1] or "", int(found[2]), int(found[3])) if found else cls()

    def metadata(self) -> str:
        """As it is committed; empty for a clean one."""
        if self == CrashNote():
            return ""
        owner = f"owner {self.owner}; " if self.owner else ""
        return f"{owner}attempts {self.attempts}; suspects {self.suspects}"


class CrashGuard:
    """What the note says, and what it must say before the next record is taken. Without an owner it is off."""

    def __init__(self, owner: str = "") -> None:
        """Nothing is known yet; `owner` is unique to a process."""
        self.owner = owner
        self.written = CrashNote()
        self.suspects = 0
        self.deaths = 0  # of owners that had the next record alone
        self.survived = False  # the record that is in flight has shown that it does not kill

    def open(self, found: CrashNote, lag: int) -> None:
        """Begin with what the last owner left; `lag` is how many records may have been in flight when it died."""
        ours = found.owner == self.owner
        self.written = found
        self.suspects = found.suspects or (lag if self.died(found) else 0)
        self.deaths = max(0, found.attempts - ours) if self.suspects else 0

    def died(self, found: CrashNote) -> bool:
        """Whether another owner ended without saying so."""
        return bool(self.owner and found.owner) and found.owner != self.owner

    @property
    def convicts(self) -> bool:
        """Whether the next record is not judged any more."""
        return self.deaths >= ATTEMPTS

    @property
    def isolates(self) -> bool:
        """Whether the next record is taken with nothing else in flight in the whole process: it may have killed one."""
        return 0 < self.deaths < ATTEMPTS and not self.survived

    @property
    def mark(self) -> CrashNote:
        """What is to be written before the next record is taken."""
        attempts = self.deaths + (not self.survived) if self.suspects else 0
        return CrashNote(self.owner, attempts, self.suspects)

    @property
    def marked(self) -> bool:
        """Whether that is written."""
        return not self.owner or self.written == self.mark

    def after(self, settled: int, *, left: int, waiting: bool, closing: bool) -> CrashNote:
        """What a commit of `settled` records says, where `left` others stay in flight."""
        if not self.owner:
            return CrashNote()
        suspects = max(0, self.suspects - settled)
        if closing and not left:
            return CrashNote(suspects=suspects)
        return CrashNote(self.owner, int(waiting and suspects > 0), suspects)

    @property
    def closed(self) -> CrashNote:
        """What a clean close writes: no owner, and what was found out before."""
        return replace(self.mark, owner="", attempts=self.deaths)

    def settle(self, note: CrashNote) -> None:
        """Records were committed with this note."""
        self.written, self.suspects = note, note.suspects
        self.deaths, self.survived = 0, False


@dataclass(frozen=True, slots=True)
class ResumeOffset:
    """An offset; whether it is committed already; the note for every commit; how many offsets before it are lost.

    `crash` is what the last owner noted of itself; `lag` is how far the log goes on, where that owner died.
    """

    offset: int
    pinned: bool = True
    note: str = ""
    lost: int = 0
    crash: CrashNote = field(default_factory=CrashNote)
    lag: int = 0


async def resume_offset_of(
    settings: KafkaSettings, consumer: AIOKafkaConsumer, partition: TopicPartition, *, opening: bool
) -> ResumeOffset:
    """Ask the broker. The log's own start matters only when a partition is `opening`: later its records are in memory.

    Raises aiokafka's errors where the broker does not answer.
    """
    found = await committed(consumer, partition, stable=settings.delivery == "exactly_once")
    if found is None:
        edge = consumer.end_offsets if settings.auto_offset_reset == "latest" else consumer.beginning_offsets
        return ResumeOffset((await edge([partition]))[partition], pinned=False)
    known = settings.acknowledged_loss(partition.topic, partition.partition)
    if opening:
        begin: int = (await consumer.beginning_offsets([partition]))[partition]
        if found.offset < begin:
            note = f"lost below {begin}" if known < begin else ""
            return ResumeOffset(begin, pinned=False, note=note, lost=begin - found.offset)
    noted = _NOTE.search(found.metadata)
    note = noted[0] if noted and known < int(noted[1]) else ""
    return ResumeOffset(found.offset, note=note, crash=CrashNote.of(found.metadata))
