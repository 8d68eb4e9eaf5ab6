"""How right the automated means are, from audits: blind answers on a random sample of all decisions.

A post is taken to violate where people say so of any enforced policy, and to be detected where it was blocked or sent
to review. Abstentions are neither, and left out. Decisions of the review queue say nothing here: what gets there was
chosen by its score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from moderation_service.console.transparency.template import LANGUAGES

TOO_FEW = "too few labels"


class Share(NamedTuple):
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As the page and the draft say it."""
        return f"{self.value:.1%} (95% interval {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one language or of all; None where the labels are too few to tell.

    `wrong_blocks`: of automatic blocks, those that violate no policy. `wrong_allows`: of posts that were allowed, those
    that violate one.
    """

    labels: int = 0
    accuracy: Share | None = None
    precision: Share | None = None
    recall: Share | None = None
    wrong_blocks: Share | None = None
    wrong_allows: Share | None = None

    def in_words(self, share: Share | None) -> str:
        """What stands beside the figure, or in its place."""
        behind = f"{self.labels} labels of blind audits"
        if share is None:
            return f"{TOO_FEW} ({behind})" if self.labels else "no audits"
        return f"95% interval {share.low:.4f} to {share.high:.4f}; {behind}"

    def rate_of_error(self) -> str:
        """A draft for the qualitative template."""
        if not self.labels:
            return "Not measured: no decision of the period was audited."
        blocks, allows = (share or TOO_FEW for share in (self.wrong_blocks, self.wrong_allows))
        return (
            f"Estimated from {self.labels} decisions of a random sample that people judged blind, weighed by their"
            f" probability of being drawn. Automatic blocks that violate no policy: {blocks}. Allowed posts that"
            f" violate one: {allows}. The interval is of sampling alone; people err too."
        )


NO_AUDITS: Mapping[str | None, Accuracy] = dict.fromkeys((None, *LANGUAGES), Accuracy())
"""By official language, and under None of all posts."""
