"""A reviewer at work as a process of its own: takes jobs and decides them until none is left, and sends them on.

`python -m tests.console.queue.reviewer_process SETTINGS_JSON NAME [wait] [send] [kill_at=POINT]`. It says `READY` once
it can begin, with `wait` does so when there is a job, and says `DONE` when no job is left and, with `send`, the outbox
is empty.
"""

import asyncio
import json
import os
import random
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox, queue, reviews
from moderation_service.console.store.database import own_database
from moderation_service.console.store.outbox import OutboxSender
from moderation_service.console.store.queue import Filters
from moderation_service.console.store.reviews import Decided
from moderation_service.kafka import topic_io as transactions
from moderation_service.settings import Settings
from tests.console.support import shipped_pack
from tests.stream.support import eventually

PATIENCE_S = 120.0
UNDONE = 0.2  # the share of their decisions that a reviewer takes back at once


def _die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(point: str) -> None:
    match point:
        case "taken":  # entries can't be withdrawn any more, and Kafka has heard of none
            taken = outbox.take

            async def take(*arguments: Any) -> Any:
                _die() if await taken(*arguments) else None

            outbox.take = take
        case "sending":  # the transaction is open, and its first record is acknowledged
            real = transactions.send

            async def send(*arguments: Any) -> Any:
                await (await real(*arguments))
                _die()

            transactions.send = send
        case "sent":  # Kafka has them, and the outbox has them still
            outbox.drop = _die


async def _review(context: ConsoleContext, name: str) -> None:
    while job := await queue.lease_next(
        context.database, name, Filters(), now=datetime.now(UTC), lease_s=context.settings.console.lease_s
    ):
        review = await reviews.decide(context, name, job.verdict_id, Decided(random.choice(["allow", "block"])))
        if random.random() < UNDONE:
            await reviews.undo(context, name, review.review_id)


async def _there_is_one(context: ConsoleContext) -> bool:
    return (await queue.counts(context.database, now=datetime.now(UTC))).open > 0


async def _all_sent(context: ConsoleContext) -> bool:
    return await outbox.first_due(context.database) is None


async def main() -> None:
    settings = Settings.model_validate(json.loads(sys.argv[1]))
    name, *how = sys.argv[2:]
    for point in (word.removeprefix("kill_at=") for word in how if word.startswith("kill_at=")):
        _die_at(point)
    async with own_database(settings) as database:
        context = ConsoleContext(settings=settings, database=database, pack=shipped_pack())
        print("READY", flush=True)  # noqa: T201 - for the test
        sending = asyncio.create_task(OutboxSender(context).run()) if "send" in how else None
        if "wait" in how:
            await eventually(partial(_there_is_one, context), "a job", PATIENCE_S)
        await _review(context, name)
        if sending:
            await eventually(partial(_all_sent, context), "the outbox is empty", PATIENCE_S)
        print("DONE", flush=True)  # noqa: T201 - as above
        if sending:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
