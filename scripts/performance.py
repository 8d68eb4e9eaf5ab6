# ruff: noqa: INP001 - a script, and no package
"""Runs benches, keeps what they print in docs/explanation/performance.json, and draws performance.svg beside it.

`python scripts/performance.py scale pipeline` runs these two again; without names it only draws. `faststream` is
scripts/bench-faststream.py. Run by `make bench`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
FIGURES, PLOT = ROOT / "docs" / "explanation" / "performance.json", ROOT / "docs" / "explanation" / "performance.svg"
FASTSTREAM = ROOT / ".cache" / "faststream"
_BLUE, _GREY, _SOFT = "#2f6fde", "#4a5464", "#8d97a6"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "performance",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _SOFT,
}
_MB = 1e6


def measure(name: str) -> dict[str, Any]:
    """What a bench prints. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "moderation_service", "bench", name]
    paths = [str(ROOT)]
    if name == "faststream":
        command, paths = [sys.executable, str(ROOT / "scripts" / "bench-faststream.py")], [str(FASTSTREAM), str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env, cwd=ROOT)  # noqa: S603
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def draw(figures: dict[str, Any]) -> None:
    """Posts a second of the loops, posts a second by lanes, memory by backlog."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 2.8), layout="constrained")
        loops, lanes, memory = figure.subplots(1, 3)
        rates = {**figures.get("faststream", {}).get("posts_per_second", {}), **figures["pipeline"]["posts_per_second"]}
        _bars(loops, {name.replace("_", " "): rate for name, rate in rates.items()}, "records a second")
        by_lanes = figures["scale"]["lanes"].items()
        _bars(lanes, {name: row["posts_per_second"] for name, row in by_lanes}, "posts a second by partitions")
        by_backlog = figures["scale"]["backlog"].items()
        peaks = {f"{int(name):,}": row["peak_memory_bytes"] / _MB for name, row in by_backlog}
        _bars(memory, peaks, "peak memory by backlog, MB")
        figure.savefig(PLOT, metadata={"Date": None})


def _bars(axes: Axes, heights: dict[str, float], title: str) -> None:
    colours = [_BLUE if name == "worker" or name[0].isdigit() else _SOFT for name in heights]
    drawn = axes.barh(list(heights), list(heights.values()), color=colours)
    axes.bar_label(drawn, [f"{height:,.0f}" for height in heights.values()], padding=3, color=_GREY, fontsize=8)
    axes.set_title(title, fontsize=9, color=_GREY, loc="left")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * max(heights.values()))
    axes.set_xticks([])


def main(names: list[str]) -> None:
    """Run the named benches one after the other, keep each, and draw."""
    figures: dict[str, Any] = json.loads(FIGURES.read_bytes()) if FIGURES.exists() else {}
    for name in names:
        figures[name] = measure(name)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if {"pipeline", "scale"} <= figures.keys():
        draw(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
