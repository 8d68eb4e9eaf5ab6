"""Result of processing one record: the record to publish, and the facts to log about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from moderation_service.contracts.envelope import Headers
from moderation_service.kafka.sizes import size_of
from moderation_service.telemetry.tracing import UNTRACED, RecordSpan

Outcome = Literal["verdict", "dead_letter", "deleted"]


@dataclass(frozen=True, slots=True)
class Output:
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Upper bound of its bytes on the wire, before compression."""
        return size_of(self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True)
class ProcessingResult:
    """`smaller` gives what to publish instead where this is too large; None: there is nothing smaller.

    `also` goes out with it. `facts` are what the log line tells; never words of a post.
    """

    output: Output
    outcome: Outcome
    reason: str | None = None
    smaller: "Callable[[], ProcessingResult] | None" = None
    also: tuple[Output, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    received: float = 0.0
    timestamp_ms: int = -1
    way: RecordSpan = UNTRACED

    @property
    def outputs(self) -> tuple[Output, ...]:
        """All that is to be published."""
        return (self.output, *self.also)

    def within(self, limit: int) -> "ProcessingResult":
        """The first of the ever smaller forms that fits, or the smallest."""
        fitting = self
        while fitting.output.size > limit and fitting.smaller is not None:
            fitting = fitting.smaller()
        return fitting
