"""Section `audit`."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PositiveInt, SecretStr, model_validator

from moderation_service.settings.section import Section

Stratum = Literal["allow_low", "allow_middle", "allow_near", "abstain", "review", "block"]
Rate = Annotated[float, Field(gt=0, le=1)]


class AuditSettings(Section):
    """Audits: a random sample of all decisions that people judge blind."""

    rates: dict[Stratum, Rate] = Field(default={})
    """Share of each stratum that is audited, all of them named; empty: none is."""
    policy_rates: dict[str, Rate] = Field(default={})
    """Rates of rare policies, for posts that score over a tenth of their `review` threshold."""
    second_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the audits that a second person answers too."""
    per_day: PositiveInt = 200
    """Answers a day, by UTC, to audits of posts that would else wait for nobody."""
    seed: SecretStr | None = None
    """Secret that decides what is drawn; unset: who knows a post's digests can foretell it."""

    @model_validator(mode="after")
    def _names_all_strata(self) -> Self:
        missing = [name for name in get_args(Stratum) if name not in self.rates]
        if self.rates and missing:
            msg = f"rates: should name {', '.join(missing)} too: each post needs a chance"
            raise ValueError(msg)
        if self.policy_rates and not self.rates:
            msg = "policy_rates need rates"
            raise ValueError(msg)
        return self
