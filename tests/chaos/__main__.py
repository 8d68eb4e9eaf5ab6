"""Usage: `python -m tests.chaos [--seed N] [--only NAME ...] [--short] [--kafka VERSION] [--keep FOLDER]`.

Exits 1 on a breach.
"""

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.run import COLUMNS, row, run
from tests.chaos.scenarios import FULL, REBALANCES, SHORT

_WIDTH = 160


async def main() -> int:
    """Run, print the table and the seed; 1 where something was breached."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", nargs="+", choices=[*FULL], default=None)
    parser.add_argument("--short", action="store_true")
    parser.add_argument(
        "--kafka", default=None, help="rebalances alone, on this release with a busy coordinator, such as 3.6.2"
    )
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the logs")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    profile = SHORT if given.short else REBALANCES if given.kafka else FULL
    chosen = {name: named for name, named in profile.items() if given.only is None or name in given.only}
    _say(f"seed {seed}")
    title = f"make chaos SEED={seed}" + (f" KAFKA={given.kafka}" if given.kafka else "")
    table, broken = Table(*COLUMNS, title=title), False
    async for outcome in run(chosen, seed, given.keep, given.kafka):
        table.add_row(*row(outcome))
        _say("  ".join(row(outcome)))
        for breach in outcome.breaches:
            broken = True
            _say(f"{outcome.name}: {breach}")
    Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False).print(table)
    return int(broken)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers and brokers end too
    sys.exit(asyncio.run(main()))
