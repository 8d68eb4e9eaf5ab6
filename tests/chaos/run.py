"""Scenarios one after the other, each cluster started once."""

import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from moderation_service.bench.local_kafka import KAFKA_VERSION
from tests.chaos.arena import Outcome, take_place
from tests.chaos.cluster import cluster
from tests.chaos.coordinator import BUSY, make_groups
from tests.chaos.scenarios import Named

COLUMNS = ("scenario", "s", "records", "verdicts", "dead", "nulls", "twice", "missing", "looks", "faults", "breaches")


async def run(
    scenarios: Mapping[str, Named], seed: int, keep: Path | None = None, kafka: str | None = None
) -> AsyncIterator[Outcome]:
    """Give each one's outcome; logs are in `keep`, or gone with the run.

    `kafka` is a release to run them on, with a coordinator that is kept busy.
    """
    order = list(scenarios.items())
    random.Random(seed).shuffle(order)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as scratch:
        folder = keep or Path(scratch)
        for brokers in sorted({named.setting.brokers for _, named in order}):
            more = BUSY if kafka else {}
            with cluster(folder / f"brokers-{brokers}", brokers, kafka or KAFKA_VERSION, more) as its:
                if kafka:
                    await make_groups(its.address, brokers)
                for name, named in order:
                    if named.setting.brokers == brokers:
                        (folder / name).mkdir(exist_ok=True)
                        yield await take_place(name, named.scenario, named.setting, its, seed, folder / name)


def row(outcome: Outcome) -> tuple[str, ...]:
    """As the table has it."""
    numbers = (
        outcome.posts,
        outcome.verdicts,
        outcome.dead,
        outcome.gone,
        outcome.twice,
        outcome.missing,
        outcome.looks,
    )
    return (
        outcome.name,
        f"{outcome.seconds:.0f}",
        *map(str, numbers),
        outcome.faults,
        str(len(outcome.breaches)),
    )
