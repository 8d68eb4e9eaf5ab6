"""`moderation bench`: the owner's fleet and card measured, as JSON with the machine, the versions and the command."""

import shlex
import sys
from typing import Any

from cyclopts import App

from moderation_service.bench.machine import with_conditions


def _print_figures(figures: dict[str, Any] | None) -> int:
    if figures is not None:  # as it is after --help
        print(with_conditions(figures, shlex.join(["moderation", *sys.argv[1:]])))
    return 0


bench = App(
    name="bench", help="Measure, and print figures with what they were measured on.", result_action=_print_figures
)
for name, about in (
    ("engine", "Posts a second of both layouts on this machine's CPU or GPU."),
    ("load", "Latency by rate of running workers, and the rate up to which they keep up."),
):  # as text: torch is imported when its command is asked for
    example = f"{about}\n\nExample: `moderation bench {name} | jq .ratio`"
    bench.command(f"moderation_service.bench.{name}:run", name=name, help=example)
