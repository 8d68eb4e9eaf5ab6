"""One HTML page of a run, without outside addresses and without scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from moderation_service.evaluation import plots
from moderation_service.evaluation.answers import answers
from moderation_service.evaluation.figures import combined_rows
from moderation_service.evaluation.mistakes import Mistake
from moderation_service.evaluation.run import Run
from moderation_service.telemetry.redaction import redacted

ROWS = {
    "joint": "This service (both together)",
    "text_only": "Words alone",
    "image_only": "Pictures alone",
    "either": "Either alone (two one-modality filters)",
    "always_no": "Always no",
}
"""The service and its baselines, as the tables name them."""


def page(run: Run, figures: Mapping[str, Any], mistakes: Sequence[Mistake], titles: Mapping[str, str]) -> str:
    """The page; `titles` by policy id, `mistakes` with their images."""
    every = answers(run.judged)
    apart = np.array([one.labelled.apart for one in run.judged], bool)
    core = every.take(~apart[every.post])
    asked = core.take(combined_rows(core, every))
    drawn = {
        "all": plots.precision_recall(core, "all"),
        "combined": plots.precision_recall(asked, "combined") if len(asked) else "",
        "reliability": plots.reliability(core),
        "confusion": plots.confusion(core),
        "slices": _slices(figures["slices"]),
    }
    environment = Environment(loader=PackageLoader("moderation_service.evaluation", "templates"), autoescape=True)
    environment.filters["figure"] = _figure
    environment.filters["redacted"] = redacted
    return environment.get_template("report.html").render(
        figures=figures,
        plots={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 - drawn by matplotlib, names escaped
        mistakes=mistakes,
        titles=titles,
        rows=ROWS,
    )


def _slices(slices: Mapping[str, Any]) -> str:
    named = [
        (f"{name} *" if row["apart"] else name, row["f1"], row["intervals"]["f1"])
        for name, row in slices.items()
        if row.get("f1") is not None
    ]
    return plots.intervals(named, "F1") if named else ""


def _figure(block: Mapping[str, Any] | None, name: str) -> Markup:
    """A figure with its interval, as a table's cell holds it."""
    value = None if block is None else block.get(name)
    if block is None or value is None:
        return Markup("–")
    spread = block.get("intervals", {}).get(name)
    told = Markup(' <span class="ci">{:.3f} to {:.3f}</span>').format(*spread) if spread else Markup("")
    return Markup("{:.3f}{}").format(value, told)
