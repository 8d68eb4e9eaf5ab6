"""`python -m benchmarks.NAME [--option VALUE]`: a benchmark's figures as JSON, with what they were measured on."""

import shlex
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from cyclopts import App

from moderation_service.bench.machine import with_conditions
from moderation_service.errors import ModerationError
from moderation_service.settings import LoggingSettings
from moderation_service.telemetry import logs


def main(run: Callable[..., dict[str, Any]]) -> NoReturn:
    """Run a module's `run`, whose keyword arguments are the options, and print its figures.

    Exits with 2 and one line where it raises a ModerationError.
    """
    module = sys.modules["__main__"].__spec__
    name = module.name if module else run.__module__
    logs.configure(LoggingSettings(level="WARNING"))
    app = App(name=f"python -m {name}", help=run.__doc__, result_action="return_value")
    app.default(run)
    try:
        figures = app(sys.argv[1:])
    except ModerationError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    if figures is not None:  # as it is after --help
        print(with_conditions(figures, shlex.join(["python", "-m", name, *sys.argv[1:]])))
    sys.exit(0)
