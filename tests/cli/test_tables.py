"""Tables on terminals of any width: nothing that they say is cut off."""

import io
import os
import pty
import subprocess
import sys
import termios

import pytest
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from moderation_service.cli.common import fitted
from moderation_service.evaluation.calibrate import COLUMNS

CELLS = ("health_misinformation", "1234", "567", "isotonic", "0.1234", "0.2345", "0.3456", "0.4567", "0.5678", "0.6789")


def rendered(table: Table, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False)
    console.print(fitted(table, width))
    assert max(map(len, out.getvalue().splitlines())) <= width
    return out.getvalue()


@pytest.mark.parametrize("width", [132, 80, 60, 40])
def test_every_number_and_policy_of_a_wide_table_is_readable(width: int) -> None:
    table = Table(*COLUMNS, title="calibration")
    cells = [*CELLS, *("0.7",) * len(COLUMNS)][: len(COLUMNS)]
    table.add_row(*cells)
    table.add_row("doxxing", *cells[1:])
    shown = rendered(table, width)
    assert "…" not in shown
    assert "doxxing" in shown
    assert all(cell in shown for cell in cells)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_long_name_of_a_case_is_wrapped_and_not_cut(width: int) -> None:
    table = Table(Column("policy", no_wrap=True), "case", "expected", title="cases that differ")
    name = "a museum shows a sword of the Edo period, with its own words beside it"
    table.add_row("weapon_display", name, "allow")
    shown = rendered(table, width)
    assert all(word in shown for word in ["weapon_display", *name.split(), "allow"])


def test_a_table_that_would_take_the_whole_width_breaks_no_number() -> None:
    table = Table(box=SIMPLE_HEAD, expand=True)
    table.add_column("post's words", ratio=3, no_wrap=True)
    table.add_column("policy", ratio=2, no_wrap=True)
    table.add_column("both", no_wrap=True)
    table.add_row("a long line of words that is wider than its part " * 3, "Sale of weapons and of all else", "0.99")
    assert "0.99" in rendered(table, 90)


def test_a_table_that_fits_keeps_its_form() -> None:
    table = Table("policy", "case")
    table.add_row("doxxing", "a phone number")
    assert "┃ policy" in rendered(table, 80)


SHOW = """
from rich.table import Table
from moderation_service.cli.common import show
table = Table("policy", "case", "expected", "decided", "score", title="cases that differ")
table.add_row("health_misinformation", "a cure for everything", "violation combined", "allow", "0.0123")
show(table, "0 of 1 cases as expected")
"""


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_width_of_the_terminal_counts_and_no_color_is_without_colour(term: str) -> None:
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 40))
    env = {**os.environ, "TERM": term, "NO_COLOR": "1"}
    env.pop("COLUMNS", None)
    subprocess.run([sys.executable, "-c", SHOW], stdout=child, env=env, check=True)
    os.close(child)
    shown = os.read(parent, 65536).decode()
    os.close(parent)
    assert "policy: health_misinformation |" in shown
    assert "score: 0.0123" in shown
    assert "\x1b[3" not in shown.replace("\x1b[3m", "")  # italic is no colour
