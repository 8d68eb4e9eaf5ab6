"""Calibration: a model's raw scores to probabilities on the owner's data, and the drift of scores since then."""

import hashlib
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from moderation_service.contracts.base import Digest, fault_of, validate_json
from moderation_service.contracts.verdict import Model, PolicyVerdict, Probability, Thresholds
from moderation_service.errors import Misconfigured
from moderation_service.telemetry import metrics

BINS = 10  # of equal width over 0..1
WINDOW = 2_000  # the last scores of a policy, of which drift is computed
EVERY = 100  # scores between two computations
_MIN_SCORES = 500  # with fewer, chance is larger than drift


def _method(entry: object) -> str:
    """The entry's method; one that names none is Platt's, as the first files were."""
    return str(entry.get("method", "platt") if isinstance(entry, dict) else getattr(entry, "method", "platt"))


_BY_METHOD = Discriminator(_method)
_EDGE = 1e-7  # scores are kept off 0 and 1, where the logit has no end


class _PolicyEntry(BaseModel):
    """One policy's entry of a calibration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: Thresholds | None = None


class Platt(_PolicyEntry):
    """p = sigmoid(slope × logit(score) + intercept); Platt, "Probabilistic outputs for SVMs", 1999."""

    method: Literal["platt"] = "platt"
    slope: float = Field(gt=0, allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)

    def apply(self, score: float) -> float:
        """Calibrate one raw score in [0, 1]."""
        z = self.slope * logit(score) + self.intercept
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


class Isotonic(_PolicyEntry):
    """Straight lines between points (score, probability), neither ever falling; flat beyond the outer points.

    Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002.
    """

    method: Literal["isotonic"] = "isotonic"
    scores: tuple[Probability, ...] = Field(min_length=1)
    probabilities: tuple[Probability, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.scores) != len(self.probabilities):
            msg = "scores and probabilities should be as many"
            raise ValueError(msg)
        if any(low >= high for low, high in pairwise(self.scores)):
            msg = "scores should rise"
            raise ValueError(msg)
        if any(low > high for low, high in pairwise(self.probabilities)):
            msg = "probabilities should not fall"
            raise ValueError(msg)
        return self

    def apply(self, score: float) -> float:
        """Calibrate one raw score in [0, 1]."""
        return float(np.interp(score, self.scores, self.probabilities))


Calibrator = Platt | Isotonic
"""From one policy's raw scores to probabilities."""


def logit(score: float) -> float:
    """log(score / (1 - score)), kept finite."""
    bounded = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(bounded / (1 - bounded))


Histogram = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=BINS, max_length=BINS)]


class FittedOn(BaseModel):
    """What a calibration was made of: which model's scores, on which data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    revision: str
    quantization: str | None = None
    prompt_digest: str
    data: str
    data_digest: Digest
    posts: int
    target: str
    refused: dict[str, str] = {}


class CalibrationFile(BaseModel):
    """The file that `moderation calibrate` writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    fitted_on: FittedOn | None = None
    policies: dict[str, Annotated[Annotated[Platt, Tag("platt")] | Annotated[Isotonic, Tag("isotonic")], _BY_METHOD]]
    scores: dict[str, Histogram] = {}
    """How many of each policy's raw scores were in each tenth of 0..1: what drift is measured from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What to do with each policy's raw score; a policy without an entry keeps its own score and thresholds."""

    calibration_id: str | None
    policies: dict[str, Calibrator]
    fitted_on: FittedOn | None = None
    scores: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, setting: str = "judging.calibration") -> Self:
        """Read the calibration file that `setting` names; without a path nothing is changed.

        Raises Misconfigured, naming file and field. The id is the file's digest.
        """
        if path is None:
            return cls(None, {})
        try:
            raw = path.read_bytes()
            file = validate_json(CalibrationFile, raw)
            digest = "sha256:" + hashlib.sha256(raw).hexdigest()
            return cls(digest, dict(file.policies), file.fitted_on, file.scores)
        except OSError as error:
            msg = f"{setting} {path}: {error.strerror}"
            raise Misconfigured(msg) from error
        except ValidationError as error:
            msg = f"{path}: {fault_of(error)}"
            raise Misconfigured(msg) from error

    def differs_from(self, model: Model) -> str | None:
        """Why the file is of no use with this model, in one line; None where it fits, or does not say."""
        made = self.fitted_on
        fields = ("revision", "quantization", "prompt_digest")
        if made is None or all(getattr(made, field) == getattr(model, field) for field in fields):
            return None
        if made.revision != model.revision:
            what = f"model revision {made.revision}, and this is {model.revision}"
        elif made.quantization != model.quantization:
            what = f"weights of quantization {made.quantization}, and these are of {model.quantization}"
        else:  # a digest says little to a reader: name what goes into it
            what = f"prompt {made.prompt_digest}, of another layout, wording, or bound on context or images than this"
        return f"was fitted on {what}; calibrate again, or unset it"

    def apply(self, policy_id: str, score: float) -> float:
        """The calibrated score."""
        entry = self.policies.get(policy_id)
        return entry.apply(score) if entry else score

    def thresholds(self, policy_id: str, own: Thresholds) -> Thresholds:
        """The calibration's thresholds where it has any, else the policy's own; a policy that never blocks stays so."""
        entry = self.policies.get(policy_id)
        found = entry.thresholds if entry and entry.thresholds else own
        return found.model_copy(update={"block": None}) if own.block is None else found


class DriftMonitor:
    """Score drift as a metric: histograms of the last scores of each policy against those that it was fitted on."""

    def __init__(self, reference: Mapping[str, Sequence[int]]) -> None:
        self._windows = {policy: _Window(policy, counts) for policy, counts in reference.items()}

    def record(self, policies: Iterable[PolicyVerdict]) -> None:
        """Record the raw scores of one more post."""
        for policy in policies:
            if window := self._windows.get(policy.policy_id):
                window.record(policy.raw_score)


class _Window:
    def __init__(self, policy: str, reference: Sequence[int]) -> None:
        self._policy, self._reference = policy, reference
        self._last: deque[int] = deque()
        self._counts = [0] * BINS
        self._recorded = 0

    def record(self, score: float) -> None:
        self._last.append(bin_of(score))
        self._counts[self._last[-1]] += 1
        if len(self._last) > WINDOW:
            self._counts[self._last.popleft()] -= 1
        self._recorded += 1
        if self._recorded % EVERY == 0 and len(self._last) >= _MIN_SCORES:
            metrics.SCORE_DRIFT.labels(self._policy).set(stability_index(self._counts, self._reference))


def bin_of(score: float) -> int:
    """Which tenth of 0..1 a score is in."""
    return min(int(score * BINS), BINS - 1)


def stability_index(counts: Sequence[int], reference: Sequence[int]) -> float:
    """Population stability index: sum of (p - q) × ln(p / q); Siddiqi, "Credit Risk Scorecards", 2006.

    Under 0.1 two histograms are alike, over 0.25 they differ much. Half a score more a bin: 0 has no logarithm.
    """
    found, meant = sum(counts) + BINS / 2, sum(reference) + BINS / 2
    shares = (((here + 0.5) / found, (there + 0.5) / meant) for here, there in zip(counts, reference, strict=True))
    return sum((p - q) * math.log(p / q) for p, q in shares)
