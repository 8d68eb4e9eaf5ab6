"""What the commands share: settings, printing, progress, exit codes, and optional dependencies."""

import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from moderation_service.errors import Misconfigured
from moderation_service.settings import Settings, load_settings
from moderation_service.telemetry import logs

PROBLEMS, USAGE, INTERRUPTED = 1, 2, 130
_BORDER = 3  # of a column of a table: its line, and a space on either side
_PRINTED_WIDTH = 132  # of tables, where standard output is not a terminal that has one

SettingsFile = Annotated[Path | None, Parameter(name="--settings", help="A TOML file; the environment wins over it.")]
Servers = Annotated[str | None, Parameter(help="Brokers; wins over settings and environment.")]


def load(toml: Path | None, bootstrap_servers: str | None = None) -> Settings:
    """The settings; from now on logs are written as they say. Raises Misconfigured."""
    settings = load_settings(toml, **({"kafka": {"bootstrap_servers": bootstrap_servers}} if bootstrap_servers else {}))
    logs.configure(settings.logging)
    return settings


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
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = shutil.get_terminal_size().columns if terminal else _PRINTED_WIDTH  # also where rich takes it for dumb
    console = Console(stderr=stderr, width=width, height=25, markup=False, highlight=False)
    console.print(*(fitted(one, width) if isinstance(one, Table) else one for one in what), sep="\n")


def fitted(table: Table, width: int) -> Table | Text:
    """The table with its cells wrapped between words; where they are too wide for that, each row as a paragraph.

    Nothing is cut: a policy or a number that ends in an ellipsis says nothing.
    """
    cells = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    words = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    lines = [max((cell_len(line) for cell in column for line in cell.splitlines()), default=0) for column in cells]
    spare = width - sum(words) - _BORDER * len(cells) - 1
    if spare < 0:
        return Text("\n").join(_stacked(table))
    by_need = sorted(range(len(cells)), key=lambda at: lines[at] - words[at])
    for others, at in zip(range(len(cells), 0, -1), by_need, strict=True):
        more = min(lines[at] - words[at], spare // others)
        spare -= more
        column = table.columns[at]
        column.width, column.ratio, column.overflow, column.no_wrap = words[at] + more, None, "fold", False
    table.expand = False  # or rich would share the width out anew
    return table


def _stacked(table: Table) -> Iterator[Text]:
    if table.title:
        yield Text(str(table.title), style="italic")
    names = [str(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        yield Text()
        yield Text(" | ".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=True) if str(cell)))


def print_lines(what: str, lines: Iterable[str]) -> None:
    """Print lines on standard error, each behind `what` became of it: `left out: FILE:LINE: WHY`."""
    for line in lines:
        print(f"{what}: {line}", file=sys.stderr)


@contextmanager
def progress(total: int) -> Iterator[Callable[[object], None]]:
    """A progress bar on standard error; each call of what is given counts one of `total`."""
    with progress_of_all() as show_done:
        show_done(total, 0)
        done = count(1)
        yield lambda _: show_done(total, next(done))


@contextmanager
def progress_of_all() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; it is told of how many there are, and how many are done."""
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("judging", total=None)
        yield lambda total, done: bar.update(task, total=total, completed=done)


async def exit_after(work: Coroutine[Any, Any, None]) -> None:
    """Exit the process once `work` returns: a service has drained then, and waits for no busy thread."""
    await work
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # inside the loop: its end waits for threads
