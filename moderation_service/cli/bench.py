"""`moderation bench`: each bench's figures, with the machine, the versions and the command."""

import json
import shlex
import sys
from typing import Any

from cyclopts import App

from moderation_service.bench import BENCHES, built
from moderation_service.bench.machine import machine, versions
from moderation_service.errors import Misconfigured


def _print_figures(made: dict[str, Any] | None) -> int:
    if made is not None:  # as it is after --help
        command = shlex.join(["moderation", *sys.argv[1:]])
        print(json.dumps({**made, "machine": machine(), "versions": versions(), "command": command}, indent=1))
    return 0


bench = App(name="bench", result_action=_print_figures)
for name in built():  # as text: their libraries are imported when one is asked for
    said = f"{BENCHES[name]}\n\nExample: `moderation bench {name} | jq .ratio`"
    bench.command(f"moderation_service.bench.{name}:run", name=name, help=said)


@bench.default
def no_such_bench(name: str, /) -> int:
    """Measure, and print figures with what they were measured on.

    Example: `moderation bench cache | jq .ratio`
    """
    msg = f"bench {name}: no such bench; one of {', '.join(built())}"
    raise Misconfigured(msg)
