"""Reading verdicts into both databases, and the queue's page over what was read."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from benchmarks.command_line import main
from benchmarks.console_reader import logged_in
from benchmarks.many_verdicts import SHARES, GeneratedVerdicts, ManyVerdicts
from benchmarks.postgres import local_postgres
from moderation_service.bench.local_kafka import local_kafka
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import queue
from moderation_service.console.store.database import own_database
from moderation_service.console.store.ingest import TOGETHER, Ingest, read_offsets
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, ConsoleSettings, KafkaSettings

DATABASES = ("sqlite", "postgresql")
_LOOKS_APART_S = 0.2
_MADE = 20_000  # records, before they are written
_PARTS = 10  # of the filling, whose first and last are compared


def run(
    *,
    verdicts: int = 1_000_000,
    catch_up: int = 50_000,
    pages: int = 200,
    database: Literal["sqlite", "postgresql", "both"] = "both",
    bootstrap_servers: str | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Fill a database with verdicts, look at the queue's page, then catch up with more of them on a real Kafka.

    Args:
        verdicts: In the database, 6 in 100 of them for review. They are written as those from Kafka are.
        catch_up: More of them, on Kafka's topics before the console begins to read.
        pages: How often the page is asked for, each time that it is measured, by a user who has a post in hand.
        database: Which; PostgreSQL is started by the bench, as it comes but for its port.
        bootstrap_servers: A Kafka to use; the bench starts one where none is given.
        seed: Of the verdicts.

    Raises:
        Misconfigured: `catch_up` is no more than is read at once, of which no rate can be told.
    """
    if catch_up <= TOGETHER:
        msg = f"--catch-up {catch_up}: should be more than {TOGETHER}, which are read at once"
        raise Misconfigured(msg)
    return asyncio.run(_run((verdicts, catch_up), pages, database, bootstrap_servers, seed))


async def _run(
    counts: tuple[int, int], pages: int, database: str, bootstrap_servers: str | None, seed: int
) -> dict[str, Any]:
    made = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = bootstrap_servers or stack.enter_context(local_kafka(folder))
        for name in DATABASES if database == "both" else (database,):
            if name == "sqlite":
                url = f"sqlite:///{folder / 'console.db'}"
            else:
                url = f"{stack.enter_context(local_postgres())}/postgres"
            console = ConsoleSettings.model_validate({"database_url": url, "secure_cookies": False})
            made[name] = await _measured(BareSettings(kafka=topics(kafka), console=console), counts, pages, seed)
    return {
        "ratio": {name: figures.pop("ratio") for name, figures in made.items()},
        **made,
        "verdicts": counts[0],
        "catch_up": counts[1],
        "shares": SHARES,
        "pages": pages,
        "seed": seed,
    }


def topics(address: str) -> KafkaSettings:
    """Topics of this run's own."""
    name = f"bench.console.{secrets.token_hex(4)}"
    topics = {
        f"{kind}_topic": f"{name}.{kind}"
        for kind in ("input", "output", "dead_letter", "review", "audit", "banks", "escalation")
    }
    return KafkaSettings.model_validate({"bootstrap_servers": address, "group": name, **topics})


async def _measured(settings: BareSettings, counts: tuple[int, int], pages: int, seed: int) -> dict[str, Any]:
    pack, (verdicts, catch_up) = load_pack(settings.policies.path, images=False), counts
    many = ManyVerdicts(pack, verdicts + catch_up, seed)
    async with own_database(settings) as database:
        context = ConsoleContext(settings, database, pack)
        filled = ConsoleContext(settings.model_copy(update={"kafka": topics("nowhere:1")}), database, pack)
        filling, seconds = Ingest(filled), list[float]()
        async with logged_in(context, pages) as reader:
            for number in range(_PARTS):
                records = many.some(verdicts // _PARTS, filled.settings.kafka)
                seconds.append(await _fill(filling, records))
                if number == 0:
                    small = await reader.page()
            full, queries = await reader.page(), await reader.queries()
            await create(settings.kafka)
            waiting = [Record(made.topic, made.key, made.value) for made in many.some(catch_up, settings.kafka)]
            await publish(settings.kafka, waiting)
            looking = asyncio.create_task(reader.page(_LOOKS_APART_S))
            read_s = await _caught_up(context, len(waiting))
            reader.enough.set()
            beside = await looking
        counted = await queue.counts(database, now=datetime.now(UTC))
    return {
        "ratio": {
            "page_of_all_to_a_tenth": round(full["p95"] / small["p95"], 3),
            "filling_last_to_first_tenth": round(seconds[0] / seconds[-1], 3),
        },
        "verdicts_per_second": {
            "filling": round(verdicts / sum(seconds), 1),
            "from_kafka": round(catch_up / read_s, 1),
        },
        "queue_page_ms": {"a_tenth": small, "all": full, "while_catching_up": beside},
        "queue_queries_ms": queries,
        "open_jobs": counted.open,
    }


async def _fill(ingest: Ingest, records: Iterator[GeneratedVerdicts]) -> float:
    """Write records as they are written when they come from Kafka; seconds, without those in which they are made."""
    took = 0.0
    while some := list(islice(records, _MADE)):
        begun = time.perf_counter()
        await ingest.write_all(_batches(some))
        took += time.perf_counter() - begun
    return took


async def _batches(records: list[GeneratedVerdicts]) -> AsyncIterator[list[GeneratedVerdicts]]:
    for at in range(0, len(records), TOGETHER):
        yield records[at : at + TOGETHER]


async def _caught_up(context: ConsoleContext, records: int) -> float:
    """Seconds in which as many records are read as are on the topics, connecting to Kafka left out."""
    places = {context.settings.kafka.output_topic, context.settings.kafka.input_topic}
    ingest = Ingest(context)
    reading = asyncio.create_task(ingest.run())
    await ingest.wrote.wait()
    begun, first = time.perf_counter(), await _read(context, places)
    while await _read(context, places) < records:
        ingest.wrote.clear()
        await ingest.wrote.wait()
    took = time.perf_counter() - begun
    reading.cancel()
    await asyncio.wait({reading})
    return took * records / (records - first)


async def _read(context: ConsoleContext, topics: Collection[str]) -> int:
    return sum(end for (topic, _), end in (await read_offsets(context.database)).items() if topic in topics)


if __name__ == "__main__":
    main(run)
