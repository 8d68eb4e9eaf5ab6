"""All policies' calibration: a file that `judging.calibration` names, and what there is to say of each policy."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moderation_service.contracts.verdict import Thresholds
from moderation_service.evaluation import calibrators, metrics, thresholds
from moderation_service.evaluation.bootstrap import rounded
from moderation_service.evaluation.calibrators import CalibrationRefused, Examples, ExampleSource
from moderation_service.evaluation.metrics import Figures
from moderation_service.evaluation.thresholds import Target
from moderation_service.judging.calibration import BINS, CalibrationFile, Calibrator, FittedOn, bin_of

COLUMNS = (
    "policy",
    "labels",
    "violations",
    "method",
    "Brier raw",
    "Brier",
    "ECE raw",
    "ECE",
    "review at",
    "precision",
    "recall",
)


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """What became of one policy. Figures are of posts that the map, or the threshold, was not fitted on."""

    policy: str
    labels: int
    violations: int
    raw: Figures
    map: Calibrator | None = None
    calibrated: Figures | None = None
    precision: float | None = None
    recall: float | None = None
    refused: str | None = None

    def cells(self) -> tuple[str, ...]:
        """As COLUMNS says."""
        after = self.calibrated or {}
        limits = self.map.thresholds if self.map else None
        numbers = (
            *(found.get(name) for name in ("brier", "ece") for found in (self.raw, after)),
            limits.review if limits else None,
            self.precision,
            self.recall,
        )
        method = self.map.method if self.map else "none"
        shown = ("" if number is None else str(rounded(number)) for number in numbers)
        return (self.policy, str(self.labels), str(self.violations), method, *shown)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The file to be, and a line for each policy that has labels."""

    file: CalibrationFile
    lines: tuple[CalibrationLine, ...]

    def write(self, path: Path) -> None:
        """The same bytes, and so the same id, for the same data and target."""
        path.write_text(self.file.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")


def calibrate(
    source: ExampleSource, own: Mapping[str, Thresholds], *, data: str, target: Target | None = None, seed: int = 0
) -> Calibrated:
    """Fit every policy that has the labels for it.

    `own` are the policies' thresholds: `block` stays as it is, but never under the `review` that is found for
    `target`. Without a target a policy keeps its thresholds. `data` says in the file where the posts are from.
    """
    lines = tuple(
        _line(policy, examples, own.get(policy), target, seed) for policy, examples in sorted(source.policies.items())
    )
    file = CalibrationFile(
        fitted_on=FittedOn(
            model=source.model.name,
            revision=source.model.revision,
            quantization=source.model.quantization,
            prompt_digest=source.model.prompt_digest,
            data=data,
            data_digest=source.digest,
            posts=source.posts,
            target=str(target) if target else "none",
            refused={line.policy: line.refused for line in lines if line.refused},
        ),
        policies={line.policy: line.map for line in lines if line.map},
        scores={policy: _histogram(examples) for policy, examples in sorted(source.policies.items())},
    )
    return Calibrated(file, lines)


def _histogram(examples: Examples) -> tuple[int, ...]:
    counts = Counter(bin_of(score) for score in examples.score)
    return tuple(counts[part] for part in range(BINS))


def _line(policy: str, examples: Examples, own: Thresholds | None, target: Target | None, seed: int) -> CalibrationLine:
    counts = (policy, len(examples.truth), int(examples.truth.sum()))
    raw = metrics.calibration(examples.truth, examples.score)
    try:
        fitted = calibrators.fit(examples, seed=seed)
    except CalibrationRefused as refused:
        return CalibrationLine(*counts, raw, refused=str(refused))
    after = metrics.calibration(examples.truth, fitted.held_out)
    if target is None:
        return CalibrationLine(*counts, raw, fitted.map, after)
    try:
        review = thresholds.review_threshold(examples.truth, calibrators.apply(fitted.map, examples.score), target)
        precision, recall = thresholds.held_out(examples, fitted.held_out, target, seed=seed)
    except CalibrationRefused as refused:
        return CalibrationLine(*counts, raw, fitted.map, after, refused=f"thresholds: {refused}")
    own = own or Thresholds(review=review, block=review)
    limits = Thresholds(review=review, block=None if own.block is None else max(review, own.block))
    return CalibrationLine(*counts, raw, fitted.map.model_copy(update={"thresholds": limits}), after, precision, recall)
