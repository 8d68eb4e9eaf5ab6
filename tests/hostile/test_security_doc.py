"""SECURITY.md speaks of what is there: each file and test that it names, and at least one test a threat."""

import re
from pathlib import Path

import pytest

from moderation_service.settings import PACKAGE
from tests.hostile.costly_images import COSTLY

ROOT = PACKAGE.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
THREATS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ") and "`tests/" in line]


def named(cell: str, root: Path) -> list[Path]:
    """The files in a cell; one without a folder lies in that of the one before it, the first at the root."""
    found: list[Path] = []
    for name in re.findall(r"`([\w/-]+\.py)`", cell):
        found.append((root if "/" in name or not found else found[-1].parent) / name)
    return found


def test_there_are_threats() -> None:
    assert len(THREATS) >= 12


@pytest.mark.parametrize("threat", THREATS, ids=lambda row: row[0][:40])
def test_a_threat_names_where_it_is_stopped_and_a_test_that_exist(threat: list[str]) -> None:
    _, where, tests = threat
    stopped, shown = named(where, PACKAGE), named(tests, ROOT)
    assert stopped
    assert shown
    assert [path for path in (*stopped, *shown) if not path.is_file()] == []


def test_the_costliest_images_that_are_listed_are_those_that_are_searched() -> None:

    listed = re.findall(r"^\| ((?:JPEG|PNG|GIF|WebP|AVIF)[^|]*) \|", TEXT, re.MULTILINE)
    assert sorted(listed) == sorted(COSTLY)
