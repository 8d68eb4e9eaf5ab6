"""How far reviewers agree who answered for the same post, beyond what chance would give."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moderation_service.audits.audited import AuditedVerdict
from moderation_service.contracts.enums import AuditRound

LEAST_PAIRS = 30


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `pairs` of first and second answers. None where there are too few, or where all answers are the same."""

    pairs: int
    share: float | None = None
    kappa: float | None = None
    alpha: float | None = None


def agreement(audited: Iterable[AuditedVerdict], policy_id: str | None = None) -> Agreement:
    """Of a policy's first and second answers; without a policy, of whether any is violated."""
    pairs = list[tuple[bool, bool]]()
    for one in audited:
        rounds = {answer.round: answer.violated for answer in one.answers}
        said = [rounds.get(asked, {}) for asked in (AuditRound.FIRST, AuditRound.SECOND)]
        if policy_id is None and all(said):
            pairs.append((any(said[0].values()), any(said[1].values())))
        elif policy_id is not None and all(policy_id in answers for answers in said):
            pairs.append((said[0][policy_id], said[1][policy_id]))
    if len(pairs) < LEAST_PAIRS:
        return Agreement(len(pairs))
    share = sum(first == second for first, second in pairs) / len(pairs)
    return Agreement(len(pairs), share, cohens_kappa(pairs), krippendorffs_alpha(pairs))


def differ(first: Mapping[str, bool], second: Mapping[str, bool]) -> bool:
    """Whether two people answered otherwise for a policy that both were asked about."""
    return any(first[policy] != second[policy] for policy in first.keys() & second.keys())


def cohens_kappa(pairs: Sequence[tuple[object, object]]) -> float | None:
    """Of two raters, by their own shares of each answer (Cohen, 1960). None where one answer is all that was given."""
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    observed = sum(one == other for one, other in pairs) / len(pairs)
    by_chance = sum(first[answer] * second[answer] for answer in first) / len(pairs) ** 2
    return None if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def krippendorffs_alpha(units: Iterable[Sequence[object]]) -> float | None:
    """Of any number of raters, nominal data (Krippendorff, "Content Analysis", 4th ed. 2018, chapter 12).

    `units`: the answers on each post; those with fewer than two tell nothing. None where all answers are the same.
    """
    disagreed, totals = 0.0, Counter[object]()
    for answers in units:
        if len(answers) < 2:  # noqa: PLR2004 - a pair
            continue
        counts = Counter(answers)
        totals.update(counts)
        differing = len(answers) ** 2 - sum(count**2 for count in counts.values())
        disagreed += differing / (len(answers) - 1)
    n = totals.total()
    expected = n**2 - sum(count**2 for count in totals.values())
    return 1 - (n - 1) * disagreed / expected if expected else None
