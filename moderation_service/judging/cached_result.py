"""What judging found in a content: all of a verdict that is the same for every post of that content."""

from dataclasses import dataclass, replace
from typing import Self

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import AbstainReason, Content, Decision, PolicyVerdict
from moderation_service.judging.explaining import Explanation
from moderation_service.judging.shadow import Shadowed


@dataclass(frozen=True, slots=True)
class CachedResult:
    """`post_id` and `revision` are of the post that was judged; `tokens` and milliseconds are what that took."""

    post_id: str
    revision: int
    language: Language
    content: Content
    suspected: bool  # whether words look meant for the model
    policies: tuple[PolicyVerdict, ...]
    shadowed: Shadowed
    decision: Decision
    unseen: AbstainReason | None
    explanation: Explanation
    tokens: int
    attribution_ms: float
    explain_ms: float

    @property
    def lasting(self) -> bool:
        """Whether nothing failed on the way that might go well the next time."""
        return self.shadowed.whole and self.explanation.lasting

    def again(self) -> Self:
        """The same for another post, for which nothing had to be asked."""
        return replace(self, tokens=0, attribution_ms=0.0, explain_ms=0.0)
