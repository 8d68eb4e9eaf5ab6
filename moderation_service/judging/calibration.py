"""Calibration: a model's raw scores to probabilities on the owner's data, and thresholds found there."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation_service.contracts.verdict import Thresholds
from moderation_service.errors import Misconfigured

_EDGE = 1e-7  # scores are kept off 0 and 1, where the logit has no end


class Platt(BaseModel):
    """p = sigmoid(slope × logit(score) + intercept); Platt, "Probabilistic outputs for SVMs", 1999."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(gt=0)
    intercept: float
    thresholds: Thresholds | None = None

    def apply(self, score: float) -> float:
        """Calibrate one raw score in [0, 1]."""
        bounded = min(max(score, _EDGE), 1 - _EDGE)
        z = self.slope * math.log(bounded / (1 - bounded)) + self.intercept
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = "1"
    policies: dict[str, Platt]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What to do with each policy's raw score; a policy without an entry keeps its own score and thresholds."""

    calibration_id: str | None
    policies: dict[str, Platt]

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read a calibration file; without a path nothing is changed.

        Raises Misconfigured, naming file and field. The id is the file's digest.
        """
        if path is None:
            return cls(None, {})
        try:
            raw = path.read_bytes()
            return cls("sha256:" + hashlib.sha256(raw).hexdigest(), _File.model_validate_json(raw).policies)
        except OSError as error:
            msg = f"judging.calibration {path}: {error.strerror}"
            raise Misconfigured(msg) from error
        except ValidationError as error:
            fault = error.errors()[0]
            msg = f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            raise Misconfigured(msg) from error

    def apply(self, policy_id: str, score: float) -> float:
        """The calibrated score."""
        entry = self.policies.get(policy_id)
        return entry.apply(score) if entry else score

    def thresholds(self, policy_id: str, own: Thresholds) -> Thresholds:
        """The calibration's thresholds where it has any, else the policy's own."""
        entry = self.policies.get(policy_id)
        return entry.thresholds if entry and entry.thresholds else own
