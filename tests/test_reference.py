"""The generated references are those of the code."""

import sys

import pytest

from scripts.reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_is_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["moderation"])  # cyclopts takes the program's name from it
    assert PAGES[name]() == (FOLDER / name).read_text(encoding="utf-8"), "run: make reference"


def test_every_setting_and_every_metric_says_what_it_means() -> None:
    for name in ("settings.md", "metrics.md"):
        assert "|  |\n" not in PAGES[name]()
