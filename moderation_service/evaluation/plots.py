"""The report's plots as SVG that stands in a page: by matplotlib, without outside addresses."""

import io
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay

from moderation_service.evaluation import metrics
from moderation_service.evaluation.answers import CLASSES, Answers
from moderation_service.evaluation.figures import SCORES

_NAMES = {"joint": "both together", "text_only": "words alone", "image_only": "image alone", "either": "either alone"}
_COLOURS = {"joint": "#2f6fde", "text_only": "#c2571a", "image_only": "#2c8a57", "either": "#8b4fbf"}
_INK, _SOFT = "#4a5464", "#8d97a6"
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def precision_recall(rows: Answers, name: str) -> str:
    """Precision over recall of the service and of each baseline; `name` keeps two such plots of a page apart."""
    figure, axes = _figure(name, 4.6, 3.6)
    for score, label in _NAMES.items():
        if rows.truth.any():
            PrecisionRecallDisplay.from_predictions(
                rows.truth, SCORES[score](rows), ax=axes, name=label, curve_kwargs={"color": _COLOURS[score]}
            )
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05), aspect="auto")
    if own := axes.get_legend():
        own.remove()
        figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    return _svg(figure, name)


def reliability(rows: Answers) -> str:
    """How often what was said to be likely was so, calibrated and raw; the diagonal is right."""
    figure, axes = _figure("reliability", 4.6, 3.6)
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=1, linestyle=":")
    asked = rows.take(rows.asked)
    if not np.array_equal(asked.raw, asked.joint):
        held, said, _ = metrics.reliability(asked.truth, asked.raw)
        axes.plot(said, held, "o--", color=_SOFT, ms=4, label="raw")
    if len(asked):
        held, said, share = metrics.reliability(asked.truth, asked.joint)
        axes.plot(said, held, "o-", color=_COLOURS["joint"], ms=4, label="as judged")
        for x, y, part in zip(said, held, share, strict=True):
            told = f"{part:.0%}" if part >= 0.01 else "<1%"  # noqa: PLR2004 - less would read as none
            axes.annotate(told, (x, y), xytext=(4, -9), textcoords="offset points", fontsize=7, color=_SOFT)
    axes.set(xlabel="mean score of the bin", ylabel="share of violations", xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return _svg(figure, "reliability")


def confusion(rows: Answers) -> str:
    """Attribution as meant (rows) and as measured (columns); shades by the share of the row."""
    counts = np.array(metrics.confusion(rows.meant, rows.told))
    if not counts.size:
        return ""
    figure, axes = _figure("confusion", 5.6, 4.2)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="none")
    names = [name.replace("_", " ") for name in CLASSES]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="as measured", ylabel="as labelled")
    for (row, column), count in np.ndenumerate(counts):
        dark = shares[row, column] > 0.5  # noqa: PLR2004 - half way between the shades
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if dark else _INK)
    return _svg(figure, "confusion")


def intervals(rows: Iterable[tuple[str, float, tuple[float, float] | None]], label: str) -> str:
    """A dot with its interval for each name, the first at the top."""
    named = list(rows)
    figure, axes = _figure(label, 6.4, 0.28 * len(named) + 0.9)
    for at, (_, value, spread) in enumerate(named):
        if spread:
            axes.plot(spread, (at, at), color=_SOFT, linewidth=2, solid_capstyle="round")
        axes.plot(value, at, "o", color=_COLOURS["joint"], ms=5)
    axes.set_yticks(range(len(named)), [name.replace("_", " ") for name, _, _ in named])
    axes.invert_yaxis()
    axes.set(xlabel=label, xlim=(-0.02, 1.02))
    axes.grid(axis="x", color="#dfe3e8", linewidth=0.8)
    return _svg(figure, label)


def _figure(name: str, width: float, height: float) -> tuple[Figure, Axes]:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.subplots()


def _svg(figure: Figure, name: str) -> str:
    """Only the element: a page needs no XML head. The salt keeps ids of two plots apart, and runs the same."""
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    drawn = out.getvalue()
    return drawn[drawn.index("<svg") :]
