"""What the probes answer.

startup: the model is loaded and warm. ready: that, and the group is joined, and nothing holds the partitions.
live: the poll loop still beats; never whether Kafka can be reached, or an outage would restart the fleet.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

STALLED_AFTER_S = 30.0


@dataclass(slots=True)
class Health:
    """Written by the worker, read by the probes."""

    clock: Callable[[], float] = time.monotonic
    started: bool = False
    joined: bool = False
    draining: bool = False
    holds: set[str] = field(default_factory=set)
    _beat: float | None = None

    def beat(self) -> None:
        """The poll loop went round."""
        self._beat = self.clock()

    def stop_beating(self) -> None:
        """The poll loop ended on purpose."""
        self._beat = None

    @property
    def live(self) -> bool:
        """Whether the poll loop, once begun, went round lately."""
        return self._beat is None or self.clock() - self._beat < STALLED_AFTER_S

    @property
    def not_ready(self) -> list[str]:
        """Why posts are not being judged now; empty when ready."""
        reasons = sorted(self.holds)
        if not self.started:
            reasons.append("model not warm")
        if not self.joined:
            reasons.append("group not joined")
        if self.draining:
            reasons.append("draining")
        return reasons
