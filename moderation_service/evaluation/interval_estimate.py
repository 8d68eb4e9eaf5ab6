"""A value with its 95% interval, and what it becomes when it is scaled, shifted or weighed with others."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot
from typing import Self

from moderation_service.audits.estimation import LEAST_POSITIVES
from moderation_service.audits.proportion import Proportion


@dataclass(frozen=True, slots=True)
class IntervalEstimate:
    """Made of a count of posts, or of other estimates."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, counted: Proportion) -> Self:
        """A share with Wilson's interval; from 0 to 1 on fewer than LEAST_POSITIVES, or one post could refute 80%."""
        if counted.of < LEAST_POSITIVES:
            return cls(counted.share if counted.of else 0.5, 0.0, 1.0)
        return cls(counted.share, *counted.interval)

    @classmethod
    def weighted(cls, parts: Iterable[tuple[float, Self]]) -> Self:
        """The sum of independent estimates, each with its weight, by MOVER (Zou and Donner, 2008)."""
        given = list(parts)
        value = sum(weight * part.value for weight, part in given)
        below = hypot(*(weight * (part.value - part.low) for weight, part in given))
        above = hypot(*(weight * (part.high - part.value) for weight, part in given))
        return cls(value, value - below, value + above)

    def times(self, factor: float) -> Self:
        """Scaled by a factor that is known."""
        return type(self)(self.value * factor, self.low * factor, self.high * factor)

    def plus(self, amount: float) -> Self:
        """Shifted by an amount that is known."""
        return type(self)(self.value + amount, self.low + amount, self.high + amount)
