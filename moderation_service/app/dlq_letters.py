"""The dead letters that are there: not erased with their post, with how often each was driven in again."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from moderation_service.contracts.dead_letter import PREFIX, DeadLetter
from moderation_service.contracts.envelope import Headers
from moderation_service.kafka.topic_io import read
from moderation_service.settings import KafkaSettings

REDRIVES = "dlq.redrives"
"""Header: how often the record was driven in again."""
REDRIVEN = "dlq.redriven"
"""Header of a marker on the dead-letter topic: the offset, in the same partition, of the letter that was driven in."""

Place = tuple[int, int]
"""Partition and offset on the dead-letter topic."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant; None means all."""

    reason: str | None = None
    stage: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its bytes."""

    place: Place
    key: bytes | None
    why: DeadLetter
    redrives: int
    redriven: bool = False

    @classmethod
    def of(cls, place: Place, key: bytes | None, headers: Headers) -> Self:
        """Read the headers. Raises ValueError where they are not ours."""
        return cls(place, key, DeadLetter.from_headers(headers), int(dict(headers).get(REDRIVES, b"0")))

    def is_of(self, chosen: Chosen) -> bool:
        """Whether it is meant."""
        shown = self.key.decode(errors="replace") if self.key is not None else None
        wanted = ((chosen.reason, self.why.reason), (chosen.stage, self.why.stage), (chosen.key, shown))
        return all(want is None or want == has for want, has in wanted)

    def row(self) -> dict[str, Any]:
        """As it is listed; never the words of a post."""
        return {
            "letter": f"{self.place[0]}:{self.place[1]}",
            "key": self.key.decode(errors="replace") if self.key is not None else None,
            **self.why.model_dump(mode="json"),
            "redrives": self.redrives,
            "redriven": self.redriven,
        }


async def letters(settings: KafkaSettings, chosen: Chosen) -> list[Letter]:
    """Those that are meant, by partition and offset; a null since then erased those of its key.

    Raises Fatal where the topic can't be read. Records that are no letters of ours are left out.
    """
    found: dict[Place, Letter] = {}
    of_key: defaultdict[bytes | None, list[Place]] = defaultdict(list)
    async for place, key, value, headers in records(settings):
        if value is None:
            for erased in of_key.pop(key, ()):
                del found[erased]
        elif marked := dict(headers).get(REDRIVEN):
            driven = found.get((place[0], int(marked)))
            if driven is not None:
                found[driven.place] = Letter(driven.place, driven.key, driven.why, driven.redrives, redriven=True)
        else:
            try:
                letter = Letter.of(place, key, headers)
            except (ValidationError, ValueError):
                continue
            if letter.is_of(chosen):
                found[place] = letter
                of_key[key].append(place)
    return [found[place] for place in sorted(found)]


async def records(settings: KafkaSettings) -> AsyncIterator[tuple[Place, bytes | None, bytes | None, Headers]]:
    """All of the dead-letter topic up to its present end. Raises Fatal where it can't be read."""
    async for record in read(settings, settings.dead_letter_topic):
        headers = [(name, value or b"") for name, value in record.headers]
        yield (record.partition, record.offset), record.key, record.value, headers


def original(headers: Headers, redrives: int) -> Headers:
    """The headers that the record came with, and how often it was driven in again."""
    theirs = [(name, value) for name, value in headers if not name.startswith(PREFIX) and name != REDRIVES]
    return [*theirs, (REDRIVES, str(redrives).encode())]
