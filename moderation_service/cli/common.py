"""What the commands share: settings, printing, exit codes, and libraries that not every installation has."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from moderation_service.errors import Misconfigured
from moderation_service.settings import Settings, load_settings
from moderation_service.telemetry import logs

PROBLEMS, USAGE, INTERRUPTED = 1, 2, 130
_PRINTED_WIDTH = 132  # of tables, where standard output is no terminal that has one

SettingsFile = Annotated[Path | None, Parameter(name="--settings", help="A TOML file that lies under the environment.")]
Servers = Annotated[str | None, Parameter(help="Brokers to use: goes before settings and environment.")]


def load(toml: Path | None, bootstrap_servers: str | None = None) -> Settings:
    """The settings; from now on logs are written as they say. Raises Misconfigured."""
    settings = load_settings(toml, **({"kafka": {"bootstrap_servers": bootstrap_servers}} if bootstrap_servers else {}))
    logs.configure(settings.logging)
    return settings


def extra(module: str, wanted: str) -> ModuleType:
    """A module of app whose libraries come with an extra, `wanted`. Raises Misconfigured naming it."""
    try:
        return import_module(f"moderation_service.app.{module}")
    except ModuleNotFoundError as error:
        msg = f"{error.name} is missing: install moderation-service[{wanted}]"
        raise Misconfigured(msg) from error


def writable(path: Path, option: str) -> Path:
    """Where a command is to write, checked before its work; `-` is standard output. Raises Misconfigured."""
    if str(path) == "-":
        return Path("/dev/stdout")
    wrong = None
    if path.is_dir():
        wrong = "is a folder; name a file"
    elif not path.parent.is_dir():
        wrong = f"there is no folder {path.parent}; make it first"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        wrong = "may not be written to"
    if wrong:
        msg = f"{option} {path}: {wrong}"
        raise Misconfigured(msg)
    return path


def show(*what: Table | str, stderr: bool = False) -> None:
    """Print tables and lines as wide as the terminal; whatever stands in them is no markup."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else _PRINTED_WIDTH
    Console(stderr=stderr, width=width, markup=False, highlight=False).print(*what, sep="\n")


def say_left_out(lines: Iterable[str]) -> None:
    """Name the rows that were left out."""
    for line in lines:
        print(f"left out: {line}", file=sys.stderr)
