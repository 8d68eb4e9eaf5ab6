"""A binomial proportion with Wilson's score interval."""

from dataclasses import dataclass
from math import sqrt

from moderation_service.audits.ratio_interval import Z


@dataclass(slots=True)
class Proportion:
    """So many `yes` among `of`."""

    yes: int = 0
    of: int = 0

    def add(self, said: bool) -> None:  # noqa: FBT001 - one more answer
        """Count one."""
        self.yes += said
        self.of += 1

    @property
    def share(self) -> float:
        """`yes / of`, which must not be nought."""
        return self.yes / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval of 95% (Wilson, 1927), which holds for few answers and for shares of 0 and 1."""
        n, p = self.of, self.share
        middle, half = p + Z**2 / (2 * n), Z * sqrt(p * (1 - p) / n + Z**2 / (4 * n * n))
        whole = 1 + Z**2 / n
        return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
