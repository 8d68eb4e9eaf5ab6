"""The figures of docs/explanation/evaluation.md are what the commands printed, and nothing else."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.evaluation import NOT_MADE, PLOT, ROOT, commands, draw, goals, moderation, shown, tables, written
from moderation_service.cli import cli
from moderation_service.evaluation.bootstrap import Bootstrap
from moderation_service.evaluation.figures import figures_of
from tests.evaluation.made import judged, run

BOTH, NEITHER, WORDS = ({"sale": views} for views in ((0.9, 0.1, 0.2), (0.1, 0.1, 0.2), (0.8, 0.8, 0.1)))
MADE = {
    "commands": ["moderation calibrate bundled -o c.json", "moderation evaluate bundled"],
    "seconds": {"calibrate": 61, "evaluate": 402},
    "machine": "Linux x86_64, 2 cores",
    "calibration": {"data": "bundled", "posts": 4000, "refused": {"sale": "10 labelled violating posts"}},
}


@pytest.fixture(scope="module")
def figures() -> Mapping[str, Any]:
    """Of a few posts: the XOR core is passed, the unseen pictograms are missed, an injection worked."""
    combined: Any = {"sale": "combined"}
    posts = [
        judged("a", {"sale": True}, BOTH, "block", combined, slices=("xor",)),
        judged("b", {"sale": False}, NEITHER, "allow", {"sale": "none"}, slices=("xor",)),
        judged("c", {"sale": True}, NEITHER, "allow", combined, slices=("unseen_pictograms",), apart=True),
        judged("d", {"sale": True}, WORDS, "review", combined, slices=("injection",), twin_of="a", apart=True),
    ]
    made = figures_of(run(*posts), source="bundled", bootstrap=Bootstrap(resamples=3))
    return {"made": MADE, **made}


def test_the_document_says_what_the_json_beside_it_says() -> None:
    document = (ROOT / "docs" / "explanation" / "evaluation.md").read_text(encoding="utf-8")
    kept = ROOT / "docs" / "explanation" / "evaluation.json"
    block = tables(json.loads(kept.read_bytes())) if kept.exists() else NOT_MADE
    assert written(document, block) == document


def test_the_plot_shows_each_slice_of_the_json(tmp_path: Path) -> None:
    slices = json.loads((ROOT / "docs" / "explanation" / "evaluation.json").read_bytes())["slices"]
    draw(slices, tmp_path / "plot.svg")
    for path in (tmp_path / "plot.svg", ROOT / "docs" / PLOT):
        shown = re.findall(r">([a-z_]+)</text>", path.read_text(encoding="utf-8"))
        assert shown == [name for name, row in reversed(slices.items()) if row["f1"] is not None]


def test_goals_are_met_or_not_by_the_figures(figures: Mapping[str, Any]) -> None:
    assert [(goal["goal"], goal["met"]) for goal in goals(figures)] == [
        ("at least 0.97", True),
        ("at least 0.80", False),  # missed
        *[("at most 0.60", True)] * 3,
        ("at least 0.95", True),
        ("at least 0.90", False),  # nothing of that class
        ("at most 0.03", False),
        ("at most 0.01", False),
    ]


def test_the_tables_hold_the_figures_and_name_what_falls_short(figures: Mapping[str, Any]) -> None:
    made = tables(figures)
    assert "| at least 0.97 | 1.000 (1.000 to 1.000) | yes |" in made
    assert "| at least 0.80 | 0.000 (0.000 to 0.000) | **no** |" in made
    assert "Slices under 0.85 F1: `unseen_pictograms` 0.000 (0.000 to 0.000)." in made
    assert "Not calibrated: `sale`: 10 labelled violating posts." in made
    assert "the first command took 61 s and the second 402 s" in made
    assert made.endswith("ms.\n"), "the marker has a line of its own"
    rows = [line for line in made.splitlines() if line.startswith("|")]
    assert rows
    assert all(line.endswith("|") for line in rows)
    for above, below in zip(made.splitlines(), made.splitlines()[1:], strict=False):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|"), f"{above}\n{below}"


def test_without_weak_slices_the_document_says_so(figures: Mapping[str, Any]) -> None:
    assert "No slice is under 0.85 F1." in tables({**figures, "slices": {}})


def test_only_what_stands_between_the_markers_is_written() -> None:
    begin, end = "<!-- figures: begin -->\n", "<!-- figures: end -->"
    assert written(f"a\n{begin}old\n{end}\nz\n", r"new \1") == f"a\n{begin}new \\1{end}\nz\n"
    with pytest.raises(ValueError, match="should have one pair of lines"):
        written("a document without", "new")


def test_the_commands_are_ones_that_the_command_line_takes() -> None:
    for arguments in commands(seed=1, calibration_seed=2, scale=0.5):
        _, bound, _ = cli.parse_args(arguments, exit_on_error=False)
        assert (bound.arguments["labelled"], bound.arguments["scale"]) == ("bundled", 0.5)
        assert str(ROOT) not in shown(arguments)
        assert shlex.split(shown(arguments))[:2] == ["moderation", arguments[0]]


def test_a_command_that_fails_stops_the_making() -> None:
    printed, seconds = moderation("schema", "post")
    assert json.loads(printed)["title"] == "Post"
    assert seconds > 0
    with pytest.raises(subprocess.CalledProcessError):
        moderation("schema", "toast")
