"""What judging hands to the stream."""

from dataclasses import dataclass

from moderation_service.contracts.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A sealed verdict, and the tokens that the model read for it (all views)."""

    verdict: Verdict
    tokens: int
