"""How far the scores of late are from those that a policy's calibration was fitted on, as a metric.

The population stability index over ten equal parts of 0..1: sum of (p - q) × ln(p / q); Siddiqi, "Credit Risk
Scorecards", 2006. Under 0.1 they are alike, over 0.25 they differ much.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.telemetry import metrics

BINS = 10
WINDOW = 2_000  # scores of a policy that are looked at
EVERY = 100  # scores between two looks
_FEWEST = 500  # before which chance is larger than drift


class DriftMonitor:
    """Keeps the last scores of every policy that has a reference: how many of its scores fell in each part."""

    def __init__(self, reference: Mapping[str, Sequence[int]]) -> None:
        self._windows = {policy: _Window(policy, counts) for policy, counts in reference.items()}

    def record(self, policies: Iterable[PolicyVerdict]) -> None:
        """Record the raw scores of one more post."""
        for policy in policies:
            if window := self._windows.get(policy.policy_id):
                window.take(policy.raw_score)


class _Window:
    def __init__(self, policy: str, reference: Sequence[int]) -> None:
        self._policy, self._reference = policy, reference
        self._last: deque[int] = deque()
        self._counts = [0] * BINS
        self._taken = 0

    def take(self, score: float) -> None:
        part = bin_of(score)
        self._last.append(part)
        self._counts[part] += 1
        if len(self._last) > WINDOW:
            self._counts[self._last.popleft()] -= 1
        self._taken += 1
        if self._taken % EVERY == 0 and len(self._last) >= _FEWEST:
            metrics.SCORE_DRIFT.labels(self._policy).set(stability_index(self._counts, self._reference))


def bin_of(score: float) -> int:
    """Which tenth of 0..1 a score is in."""
    return min(int(score * BINS), BINS - 1)


def stability_index(counts: Sequence[int], reference: Sequence[int]) -> float:
    """The index of two histograms; half a score is added to each part, for none has no logarithm."""
    found, meant = sum(counts) + BINS / 2, sum(reference) + BINS / 2
    shares = (((here + 0.5) / found, (there + 0.5) / meant) for here, there in zip(counts, reference, strict=True))
    return sum((p - q) * math.log(p / q) for p, q in shares)
