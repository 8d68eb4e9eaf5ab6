"""`moderation dlq`: list dead letters, and redrive each once."""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from cyclopts import App, Parameter, validators
from pydantic import ValidationError

from moderation_service.cli.common import PROBLEMS, Servers, SettingsFile, load
from moderation_service.contracts.dead_letter import PREFIX, DeadLetter
from moderation_service.contracts.envelope import Headers
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import Record, emit_audit, read, transactions
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry, user

REDRIVES = "dlq.redrives"
"""Header: how often the record was redriven."""
REDRIVEN = "dlq.redriven"
"""Header of a marker on the dead-letter topic: the offset, in the same partition, of the letter that was redriven."""
_BATCH = 50  # letters in one transaction

Place = tuple[int, int]
"""Partition and offset on the dead-letter topic."""

dlq = App(name="dlq", help="Dead letters: records that could not be judged.")


@dlq.command(name="list")
def list_letters(
    *,
    reason: Annotated[str | None, Parameter(help="Only letters with this reason.")] = None,
    stage: Annotated[str | None, Parameter(help="Only letters of this stage.")] = None,
    key: Annotated[str | None, Parameter(help="Only letters of records with this key.")] = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Print the dead letters, a JSON line each, without the words of the posts.

    Example: `moderation dlq list --reason not_json | jq -r .key`
    """
    for letter in asyncio.run(letters(load(settings, bootstrap_servers).kafka, LetterFilter(reason, stage, key))):
        print(json.dumps(letter.row(), ensure_ascii=False))
    return 0


@dlq.command(name="redrive")
def redrive_letters(  # noqa: PLR0913 - each is a flag
    *,
    reason: Annotated[str | None, Parameter(help="Only letters with this reason.")] = None,
    stage: Annotated[str | None, Parameter(help="Only letters of this stage.")] = None,
    key: Annotated[str | None, Parameter(help="Only letters of records with this key.")] = None,
    most: Annotated[int, Parameter(help="Redrives of one record, in all.")] = 1,
    rate: Annotated[float | None, Parameter(validator=validators.Number(gt=0), help="Records a second.")] = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Send the records of dead letters to the input topic again, each letter once, `most` times a record.

    `rate` limits the records a second, so that new posts do not wait behind them.

    Exits 1 if letters that match were left out.

    Example: `moderation dlq redrive --reason engine_error --rate 20`
    """
    kafka = load(settings, bootstrap_servers).kafka
    return PROBLEMS if asyncio.run(redrive(kafka, LetterFilter(reason, stage, key), most, rate)) else 0


@dataclass(frozen=True, slots=True)
class LetterFilter:
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
        """Read the headers. Raises ValueError if they are not ours."""
        return cls(place, key, DeadLetter.from_headers(headers), int(dict(headers).get(REDRIVES, b"0")))

    @property
    def shown_key(self) -> str | None:
        """The key as text."""
        return None if self.key is None else self.key.decode(errors="replace")

    def matches(self, wanted: LetterFilter) -> bool:
        """Whether it is meant."""
        pairs = ((wanted.reason, self.why.reason), (wanted.stage, self.why.stage), (wanted.key, self.shown_key))
        return all(want is None or want == has for want, has in pairs)

    def row(self) -> dict[str, Any]:
        """As it is listed; never the words of a post."""
        return {
            "letter": f"{self.place[0]}:{self.place[1]}",
            "key": self.shown_key,
            **self.why.model_dump(mode="json"),
            "redrives": self.redrives,
            "redriven": self.redriven,
        }


async def letters(settings: KafkaSettings, wanted: LetterFilter) -> list[Letter]:
    """The letters that match, by partition and offset; a null on the topic erases the letters of its key.

    Raises Fatal if the topic can't be read. Records that are no letters of ours are skipped.
    """
    found: dict[Place, Letter] = {}
    by_key: defaultdict[bytes | None, list[Place]] = defaultdict(list)
    async for place, key, value, headers in _records(settings):
        if value is None:
            for erased in by_key.pop(key, ()):
                del found[erased]
        elif marked := dict(headers).get(REDRIVEN):
            if letter := found.get((place[0], int(marked))):
                found[letter.place] = replace(letter, redriven=True)
        else:
            try:
                letter = Letter.of(place, key, headers)
            except (ValidationError, ValueError):
                continue
            if letter.matches(wanted):
                found[place] = letter
                by_key[key].append(place)
    return [found[place] for place in sorted(found)]


async def redrive(
    settings: KafkaSettings,
    wanted: LetterFilter,
    most: int,
    rate: float | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Send the records of letters to the input topic again, at most `rate` a second; returns how many were left out.

    A record and its marker go in one transaction, so no letter is redriven twice, whatever fails and however often this
    runs. Records redriven `most` times, and records kept by reference alone, are left out.
    Raises Fatal if the broker fails, or if another redrive begins.
    """
    async with transactions(settings, f"{settings.group}.dlq.redrive") as write:
        meant = [letter for letter in await letters(settings, wanted) if not letter.redriven]
        why_not = {letter.place: _why_not(letter, most) for letter in meant}
        sendable = {letter.place: letter for letter in meant if why_not[letter.place] is None}
        batch: list[Record] = []
        sent, begun = 0, time.monotonic()
        batch_size = _BATCH if rate is None else min(_BATCH, max(1, int(rate)))
        async for place, key, value, headers in _records(settings):
            if (letter := sendable.get(place)) is None:
                continue
            partition, offset = place
            source = letter.why.topic if letter.why.topic in settings.input_topics else settings.input_topic
            marker = [(REDRIVEN, str(offset).encode())]
            batch += [
                Record(source, key, value, _original(headers, letter.redrives + 1)),
                Record(settings.dead_letter_topic, key, b"", marker, partition),
            ]
            sent += 1
            if sent % batch_size == 0:
                await write(batch)
                batch = []
                if rate is not None:
                    await pause(begun + sent / rate - time.monotonic())
        if batch:
            await write(batch)
    left_out = Counter(reason for reason in why_not.values() if reason is not None)
    said = "".join(f"; left out: {count} {reason}" for reason, count in sorted(left_out.items()))
    print(f"{sent} of {len(meant)} dead letters redriven{said}", file=sys.stderr)
    if sent:
        details = {"records": sent, "left_out": len(meant) - len(sendable)}
        target = settings.dead_letter_topic
        entry = AuditEntry(actor=user(), action="dead_letters.redriven", target=target, details=details)
        await emit_audit(settings, entry)
    if sent != len(sendable):
        msg = f"{len(sendable) - sent} dead letters disappeared from {settings.dead_letter_topic} during the redrive"
        raise Fatal(msg)
    return len(meant) - sent


async def _records(settings: KafkaSettings) -> AsyncIterator[tuple[Place, bytes | None, bytes | None, Headers]]:
    """The whole dead-letter topic up to its present end. Raises Fatal if it can't be read."""
    async for record in read(settings, settings.dead_letter_topic):
        headers = [(name, value or b"") for name, value in record.headers]
        yield (record.partition, record.offset), record.key, record.value, headers


def _original(headers: Headers, redrives: int) -> Headers:
    """The headers that the record came with, and how often it was redriven."""
    theirs = [(name, value) for name, value in headers if not name.startswith(PREFIX) and name != REDRIVES]
    return [*theirs, (REDRIVES, str(redrives).encode())]


def _why_not(letter: Letter, most: int) -> str | None:
    if letter.why.by_reference:
        return "by reference: the record is too large to be sent as it is"
    if letter.redrives >= most:
        return f"redriven {most} times before (--most allows more)"
    return None
