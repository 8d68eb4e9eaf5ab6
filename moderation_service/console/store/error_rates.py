"""Error rates of a period, from the audits that are kept: all policies, or one of them in detail."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.agreement import Agreement, agreement
from moderation_service.audits.audited import AnswerBasis, AuditedVerdict, Stratum
from moderation_service.audits.estimation import Estimate, Where, estimates, tally_of
from moderation_service.audits.power import Power, power_table
from moderation_service.audits.ratio_interval import Measure, change_interval
from moderation_service.console.store.audited import audited, population

Estimates = Mapping[Measure, Estimate]
_LANGUAGES = 20  # the most frequent, for authors name them


@dataclass(frozen=True, slots=True)
class Audits:
    """What was drawn and answered of the verdicts of a period."""

    since: datetime
    until: datetime
    answered: Sequence[AuditedVerdict]
    population: Mapping[Stratum, int]

    @property
    def verdicts(self) -> int:
        """All that had a chance to be drawn."""
        return sum(self.population.values())

    @property
    def languages(self) -> list[str]:
        """That were audited, the most frequent first."""
        return [name for name, _ in Counter(one.language for one in self.answered).most_common(_LANGUAGES)]


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Of a policy, or without its id of the decisions. `first_answer`: were the first answer the label."""

    policy_id: str | None
    estimates: Estimates
    first_answer: Estimates
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Slice:
    """The verdicts that are alike in one thing; of an attribution class there is the precision alone."""

    kind: str
    name: str
    estimates: Estimates


@dataclass(frozen=True, slots=True)
class RateChange:
    """Of a measure since the period before: the difference and the ends of its interval."""

    measure: Measure
    difference: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether chance alone is no explanation, at the level of 5%."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Detail:
    """Of a policy, or of the decisions. `power`: of its recall."""

    slices: tuple[Slice, ...]
    changes: tuple[RateChange, ...]
    power: tuple[Power, ...]


async def read(database: AsyncEngine, since: datetime, until: datetime) -> Audits:
    """The audits of a period."""
    return Audits(since, until, await audited(database, since, until), await population(database, since, until))


async def rates(audits: Audits, policies: Sequence[str | None], language: str | None = None) -> list[ErrorRates]:
    """Of each policy, of one language or of all. Computed beside the event loop."""
    return await asyncio.to_thread(
        lambda: [_rates(audits, policy_id, _in_language(language)) for policy_id in policies]
    )


async def detail(audits: Audits, before: Audits, policy_id: str | None, language: str | None = None) -> Detail:
    """The same by slices, with what changed since the period `before`. Computed beside the event loop."""
    return await asyncio.to_thread(_detail, audits, before, policy_id, language)


def _rates(audits: Audits, policy_id: str | None, where: Where) -> ErrorRates:
    settled, first = (
        estimates(audits.answered, audits.population, policy_id, where=where, basis=basis)
        for basis in (AnswerBasis.ADJUDICATED, AnswerBasis.FIRST)
    )
    return ErrorRates(policy_id, settled, first, agreement(filter(where, audits.answered), policy_id))


def _detail(audits: Audits, before: Audits, policy_id: str | None, language: str | None) -> Detail:
    where = _in_language(language)
    now, then = (estimates(period.answered, period.population, policy_id, where=where) for period in (audits, before))
    tally, _ = tally_of(audits.answered, audits.population, policy_id, where=where)
    days = (audits.until - audits.since).total_seconds() / 86_400
    return Detail(
        slices=tuple(_slices(audits, policy_id, language)),
        changes=tuple(
            RateChange(measure, *change_interval(old, new))
            for measure in Measure
            if (old := then[measure].interval) and (new := now[measure].interval)
        ),
        power=tuple(power_table(tally, Measure.RECALL, days)),
    )


def _slices(audits: Audits, policy_id: str | None, language: str | None) -> list[Slice]:
    """By language where none was asked for; of a policy by its version, and its precision by attribution class.

    The class is the model's own, which it finds mostly where it flags: of other measures a class says nothing.
    """
    named = dict[tuple[str, str], Where]()
    if language is None:
        named |= {("language", name): _in_language(name) for name in audits.languages}
    if policy_id is not None:
        judged = [one.policies[policy_id] for one in audits.answered if policy_id in one.policies]
        for attribution in sorted({part.attribution for part in judged if part.attribution}):
            named["attribution", attribution] = _judged_with(policy_id, "attribution", attribution)
        for version in sorted({part.version for part in judged}):
            named["version", str(version)] = _judged_with(policy_id, "version", version)
    asked, found = _in_language(language), list[Slice]()
    for (kind, name), where in named.items():
        told: Estimates = estimates(audits.answered, audits.population, policy_id, where=_both(asked, where))
        if kind == "attribution":
            told = {Measure.PRECISION: told[Measure.PRECISION]}
        if any(one.labels for one in told.values()):
            found.append(Slice(kind, name, told))
    return found


def _in_language(language: str | None) -> Where:
    return lambda one: language is None or one.language == language


def _judged_with(policy_id: str, field: str, value: object) -> Where:
    return lambda one: policy_id in one.policies and getattr(one.policies[policy_id], field) == value


def _both(one: Where, other: Where) -> Where:
    return lambda verdict: one(verdict) and other(verdict)
