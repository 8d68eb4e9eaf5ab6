"""Makes the figures of docs/explanation/evaluation.md: calibrates, evaluates, writes what was printed.

The document, and the JSON beside it, hold nothing that a command did not print. Run by `make evaluation`.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "evaluation"
CALIBRATION = CACHE / "calibration.json"
DOCUMENT = "evaluation.md"
FIGURES = "evaluation.json"
PLOT = "images/evaluation-slices.svg"
WEAK = 0.85  # F1 under which a slice is named
NOT_MADE = "\nNot made yet: `make evaluation` writes them here.\n"
_SETTING = "MODERATION_JUDGING__CALIBRATION"
_BLOCK = re.compile(r"(?<=<!-- figures: begin -->\n).*?(?=<!-- figures: end -->)", re.DOTALL)


def commands(seed: int, calibration_seed: int, scale: float) -> tuple[list[str], list[str]]:
    """The arguments of `moderation` that fit a calibration, and that evaluate on posts of another seed."""
    how = ["--scale", f"{scale:g}"]
    return (
        ["calibrate", "bundled", "--seed", str(calibration_seed), *how, "-o", str(CALIBRATION)],
        ["evaluate", "bundled", "--seed", str(seed), *how, "--report", str(CACHE / "report.html")],
    )


def run(calibrate: Sequence[str], evaluate: Sequence[str]) -> dict[str, Any]:
    """The figures, with how they were made. Raises CalledProcessError where a command fails."""
    CACHE.mkdir(parents=True, exist_ok=True)
    _, calibrate_s = moderation(*calibrate)
    printed, evaluate_s = moderation(*evaluate, **{_SETTING: str(CALIBRATION)})
    fitted_on = json.loads(CALIBRATION.read_bytes())["fitted_on"]
    return {
        "made": {
            "commands": [shown(calibrate), f"{_SETTING}={CALIBRATION.name} {shown(evaluate)}"],
            "seconds": {"calibrate": round(calibrate_s), "evaluate": round(evaluate_s)},
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "calibration": {name: fitted_on.get(name, {}) for name in ("data", "posts", "refused")},
        },
        **json.loads(printed),
    }


def shown(arguments: Sequence[str]) -> str:
    """The command as a reader types it."""
    return " ".join(("moderation", *arguments)).replace(f"{CACHE}{os.sep}", "")


def moderation(*arguments: str, **settings: str) -> tuple[bytes, float]:
    """Standard output and seconds of a command; what it says else is shown. Raises CalledProcessError."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "moderation_service", *arguments]
    done = subprocess.run(command, env={**os.environ, **settings}, check=True, stdout=subprocess.PIPE)  # noqa: S603
    return done.stdout, time.perf_counter() - begun


def tables(figures: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(  # noqa: S701 - Markdown of our own figures
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    made.filters.update(figure=figure)
    weak = {name: row for name, row in figures["slices"].items() if row.get("f1") is not None and row["f1"] < WEAK}
    return made.get_template("evaluation.md.jinja").render(figures=figures, goals=goals(figures), weak=weak)


def figure(block: Mapping[str, Any] | None, name: str) -> str:
    """A figure with its interval, as a cell holds it."""
    value = (block or {}).get(name)
    if value is None:
        return "–"
    spread = (block or {}).get("intervals", {}).get(name)
    return f"{value:.3f}" + (f" ({spread[0]:.3f} to {spread[1]:.3f})" if spread else "")


def goals(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the bundled model is meant to reach, what it reaches, and whether that is it."""
    xor = figures["xor"]["baselines"]
    attribution = figures["attribution"]
    by_class = {"intervals": attribution["intervals"], **attribution["f1"]}
    rows = (
        ("F1 on combined violations", figures["combined"], "f1", 0.97),
        ("the same, pictograms never trained on", figures["combined"]["unseen_pictograms"], "f1", 0.80),
        ("XOR core: balanced accuracy of the text alone", xor["text_only"], "balanced_accuracy", -0.60),
        ("XOR core: balanced accuracy of the images alone", xor["image_only"], "balanced_accuracy", -0.60),
        ("XOR core: balanced accuracy of either alone", xor["either"], "balanced_accuracy", -0.60),
        ("attribution, macro-F1", attribution, "macro_f1", 0.95),
        ("attribution, F1 of context_mitigated", by_class, "context_mitigated", 0.90),
        ("expected calibration error", figures["calibration"], "ece", -0.03),
        ("injection: decisions made worse", figures["injection"], "worse_share", -0.01),
    )
    return [
        {
            "what": what,
            "goal": f"{'at most' if goal < 0 else 'at least'} {abs(goal):.2f}",
            "reached": figure(block, name),
            "met": _meets((block or {}).get(name), goal),
        }
        for what, block, name, goal in rows
    ]


def _meets(value: float | None, goal: float) -> bool:
    """A goal under 0 is one not to go over."""
    return value is not None and (value <= -goal if goal < 0 else value >= goal)


def written(document: str, block: str) -> str:
    """The document with `block` between its markers. Raises ValueError where it has none."""
    made, count = _BLOCK.subn(lambda _: block, document)
    if count != 1:
        msg = f"{DOCUMENT}: should have one pair of lines <!-- figures: begin --> and <!-- figures: end -->"
        raise ValueError(msg)
    return made


def draw(slices: Mapping[str, Any], path: Path) -> None:
    """F1 of each slice that has violations, with its interval; slices outside of the overall figures are hollow."""
    import matplotlib as mpl  # noqa: PLC0415 - only who makes the figures needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = {name: row for name, row in reversed([*slices.items()]) if row["f1"] is not None}
    with mpl.rc_context({"svg.hashsalt": "f1", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(8, 5.2), layout="constrained")
        axes = figure.subplots()
        for name, row in rows.items():
            axes.plot(row["intervals"]["f1"], [name, name], color="#8d97a6")
            axes.plot([row["f1"]], [name], "o", color="#1f55c4", markerfacecolor="white" if row["apart"] else "#1f55c4")
        axes.axvline(WEAK, color="#8d97a6", linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel="F1, with its 95% interval", xlim=(0.45, 1.01))
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Make the figures, and write them to the document and beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7101)
    parser.add_argument("--calibration-seed", type=int, default=7102)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 4,420 posts in the overall figures")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "explanation", help="the folder that holds evaluation.md"
    )
    asked = parser.parse_args()
    document = asked.out / DOCUMENT
    before = document.read_text(encoding="utf-8")
    figures = run(*commands(asked.seed, asked.calibration_seed, asked.scale))
    (asked.out / FIGURES).write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    document.write_text(written(before, tables(figures)), encoding="utf-8")
    draw(figures["slices"], asked.out.parent / PLOT)


if __name__ == "__main__":
    main()
