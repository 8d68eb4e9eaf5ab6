"""Costs of a month from inputs that the owner states: cards by the rules of docs/how-to/capacity.md, and reviewers."""

from dataclasses import dataclass
from math import ceil

from pydantic import BaseModel, ConfigDict, Field

from moderation_service.evaluation.interval_estimate import IntervalEstimate

HOURS = 730
"""Of a month."""
LOAD = 0.7
"""Of what a card can do: the rest is for bursts, and for what a rebalance or a rollout holds up."""
_SPARE = 20  # cards to one spare
_SECONDS = 86_400


class CostInputs(BaseModel):
    """What a month's costs are computed from. None has a default: each is the owner's to state."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    posts_per_day: float = Field(gt=0)
    peak_factor: float = Field(ge=1, description="The busiest hour's rate over the day's mean.")
    prevalence: float | None = Field(
        ge=0, le=1, description="The share of posts that violate on the platform; None: as in the sheet."
    )
    posts_per_second: float = Field(gt=0, description="Of one card, as `moderation bench load` measures it.")
    card_price: float = Field(ge=0, description="Of an hour.")
    review_minutes: float = Field(ge=0, description="A person's, for one post.")
    wage: float = Field(ge=0, description="Of a reviewer's hour.")
    currency: str


@dataclass(frozen=True, slots=True)
class CostLine:
    """One step: its name, its formula with the numbers in it, and what comes of it."""

    name: str
    formula: str
    result: str


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a month, for a share of the platform's posts that goes to a person."""

    inputs: CostInputs
    review_share: IntervalEstimate

    @property
    def peak_rate(self) -> float:
        """Posts a second in the busiest hour."""
        return self.inputs.posts_per_day / _SECONDS * self.inputs.peak_factor

    @property
    def busy_cards(self) -> int:
        """Cards that the peak keeps at work."""
        return ceil(self.peak_rate / (LOAD * self.inputs.posts_per_second))

    @property
    def cards(self) -> int:
        """With the spare ones: one in twenty, and at least one."""
        return self.busy_cards + max(1, ceil(self.busy_cards / _SPARE))

    @property
    def for_cards(self) -> float:
        """Money."""
        return self.cards * self.inputs.card_price * HOURS

    @property
    def posts(self) -> float:
        """Of a month."""
        return self.inputs.posts_per_day * HOURS / 24

    @property
    def review_hours(self) -> IntervalEstimate:
        """Of reviewers."""
        return self.review_share.times(self.posts * self.inputs.review_minutes / 60)

    @property
    def total(self) -> IntervalEstimate:
        """Money, for cards and reviewers."""
        return self.review_hours.times(self.inputs.wage).plus(self.for_cards)

    @property
    def lines(self) -> tuple[CostLine, ...]:
        """The whole computation."""
        given, share, hours = self.inputs, self.review_share.value, self.review_hours.value
        money = given.currency
        return (
            CostLine(
                "Posts/s at the peak",
                f"{given.posts_per_day:,.0f} a day ÷ {_SECONDS:,} s × {given.peak_factor:g}",
                f"{self.peak_rate:,.1f}",
            ),
            CostLine(
                "Cards at work",
                f"{self.peak_rate:,.1f} ÷ ({LOAD:g} × {given.posts_per_second:,.3g} posts/s), rounded up",
                f"{self.busy_cards:,}",
            ),
            CostLine("Cards with spare", f"one in {_SPARE}, at least one more", f"{self.cards:,}"),
            CostLine(
                "Cards, a month",
                f"{self.cards:,} × {given.card_price:,.2f} {money} × {HOURS} h",
                f"{self.for_cards:,.0f} {money}",
            ),
            CostLine(
                "Reviewers' hours, a month",
                f"{self.posts:,.0f} posts × {share:.1%} × {given.review_minutes:g} min ÷ 60",
                f"{hours:,.0f} h",
            ),
            CostLine(
                "Reviewers, a month",
                f"{hours:,.0f} h × {given.wage:,.2f} {money}",
                f"{hours * given.wage:,.0f} {money}",
            ),
            CostLine("Together, a month", "cards + reviewers", f"{self.total.value:,.0f} {money}"),
        )
