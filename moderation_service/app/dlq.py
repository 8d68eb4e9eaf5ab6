"""`moderation dlq`: look at dead letters; drive them in again, each once."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from moderation_service.app import audit
from moderation_service.app.dlq_letters import REDRIVEN, Chosen, Letter, letters, original, records
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import Record, transactions
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry, user

_TOGETHER = 50  # letters in one transaction


async def print_letters(settings: KafkaSettings, chosen: Chosen) -> None:
    """A JSON line a letter. Raises Fatal where the topic can't be read."""
    for letter in await letters(settings, chosen):
        sys.stdout.write(json.dumps(letter.row(), ensure_ascii=False) + "\n")


async def redrive(
    settings: KafkaSettings,
    chosen: Chosen,
    most: int,
    rate: float | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Send the records of letters to the input topic again, at most `rate` a second; how many meant were left out.

    A record and the marker that says so go in one transaction, so no letter is driven in twice, whatever fails and
    however often this is run. Left out is what was driven in `most` times, and what is there by reference alone.
    Raises Fatal where the broker fails, or where another redrive begins.
    """
    async with transactions(settings, f"{settings.group}.dlq.redrive") as write:
        meant = [letter for letter in await letters(settings, chosen) if not letter.redriven]
        why_not = {letter.place: _why_not(letter, most) for letter in meant}
        wanted = {letter.place: letter for letter in meant if why_not[letter.place] is None}
        batch: list[Record] = []
        driven, begun = 0, time.monotonic()
        together = _TOGETHER if rate is None else min(_TOGETHER, max(1, int(rate)))
        async for place, key, value, headers in records(settings):
            if (letter := wanted.get(place)) is None:
                continue
            partition, offset = place
            source = letter.why.topic if letter.why.topic in settings.input_topics else settings.input_topic
            marker = [(REDRIVEN, str(offset).encode())]
            batch += [
                Record(source, key, value, original(headers, letter.redrives + 1)),
                Record(settings.dead_letter_topic, key, b"", marker, partition),
            ]
            driven += 1
            if driven % together == 0:
                await write(batch)
                batch = []
                if rate is not None:
                    await pause(begun + driven / rate - time.monotonic())
        if batch:
            await write(batch)
    left_out = Counter(reason for reason in why_not.values() if reason is not None)
    said = "".join(f"; left out: {count} {reason}" for reason, count in sorted(left_out.items()))
    sys.stderr.write(f"{driven} of {len(meant)} dead letters driven in again{said}\n")
    if driven:
        details = {"records": driven, "left_out": len(meant) - len(wanted)}
        target = settings.dead_letter_topic
        entry = AuditEntry(actor=user(), action="dead_letters.redriven", target=target, details=details)
        await audit.tell(settings, entry)
    if driven != len(wanted):
        msg = f"{len(wanted) - driven} dead letters were gone when they were to be driven in"
        raise Fatal(msg)
    return len(meant) - driven


def _why_not(letter: Letter, most: int) -> str | None:
    if letter.why.by_reference:
        return "by reference: the record is too large to be sent as it is"
    if letter.redrives >= most:
        return f"driven in {most} times before (--most allows more)"
    return None
