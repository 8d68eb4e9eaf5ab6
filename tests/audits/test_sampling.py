"""Audits: the stratum follows from decision and scores, the draw from the content, each at its rate."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from pydantic import SecretStr, ValidationError

from moderation_service.audits.sampling import AuditSampler, check_policy_rates, cluster_key, neyman_rates
from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.settings import AuditSettings
from tests.contracts import examples

RATES = {"allow_low": 0.1, "allow_middle": 0.2, "allow_near": 0.3, "abstain": 0.4, "review": 0.5, "block": 0.6}


def settings(**changes: object) -> AuditSettings:
    return AuditSettings.model_validate({"rates": RATES, **changes})


def verdict(name: str = "a", decision: str = "allow", **scores: float) -> Verdict:
    policies = tuple(
        examples.POLICY.model_copy(update={"policy_id": policy_id, "score": score})
        for policy_id, score in (scores or {"weapon_sale": 0.01}).items()
    )
    content = examples.CONTENT.model_copy(update={"text_sha256": name})
    return examples.verdict(decision=decision, policies=policies, content=content)


def drawn(made: Verdict, by: AuditSettings | None = None) -> AuditDraw:
    draw = AuditSampler(by or settings()).draw(made)
    assert draw is not None
    return draw


def is_at_rate(yes: int, of: int, rate: float) -> bool:
    """Pearson's chi-square test with one degree of freedom, at 0.1%."""
    expected = np.array([of * rate, of * (1 - rate)])
    return bool((((np.array([yes, of - yes]) - expected) ** 2) / expected).sum() < 10.83)


@pytest.mark.parametrize(
    ("decision", "score", "stratum"),
    [
        ("allow", 0.049, "allow_low"),
        ("allow", 0.05, "allow_middle"),
        ("allow", 0.25, "allow_near"),
        ("abstain", 0.01, "abstain"),
        ("review", 0.6, "review"),
        ("block", 0.95, "block"),
    ],
)
def test_the_stratum_follows_from_the_decision_and_the_score_nearest_to_its_threshold(
    decision: str, score: float, stratum: str
) -> None:
    draw = drawn(verdict("a", decision, hate=0.001, weapon_sale=score))
    assert (draw.stratum, draw.probability) == (stratum, RATES[stratum])


def test_a_rare_policy_has_strata_of_its_own_and_is_drawn_at_its_rate() -> None:
    by = settings(policy_rates={"gore": 0.9, "fraud": 0.7, "hate": 0.05})
    assert drawn(verdict(gore=0.1, fraud=0.3), by).stratum == "allow_near:gore", "the higher rate wins"
    assert drawn(verdict(gore=0.01, weapon_sale=0.3), by).stratum == "allow_near", "gore is far from its threshold"
    draw = drawn(verdict("a", "block", hate=0.99), by)
    assert (draw.stratum, draw.probability) == ("block:hate", RATES["block"]), "a rate never lowers a stratum's"


def test_without_rates_and_of_a_route_nothing_is_drawn() -> None:
    assert AuditSampler(AuditSettings()).draw(verdict()) is None
    routed = verdict().model_copy(update={"route": "child_safety"})
    assert AuditSampler(settings()).draw(routed) is None


def test_each_stratum_is_drawn_at_its_rate() -> None:
    decisions = {"abstain": 0.01, "review": 0.6, "block": 0.95}
    made = {"allow_low": ("allow", 0.01), "allow_middle": ("allow", 0.1), "allow_near": ("allow", 0.4)}
    made |= {decision: (decision, score) for decision, score in decisions.items()}
    n = 4_000
    sampled = Counter(
        stratum
        for stratum, (decision, score) in made.items()
        for number in range(n)
        if drawn(verdict(f"{stratum} {number}", decision, weapon_sale=score)).is_sampled
    )
    for stratum, rate in RATES.items():
        assert is_at_rate(sampled[stratum], n, rate), (stratum, sampled[stratum])


def test_copies_share_a_draw_whatever_their_post() -> None:
    one = verdict("copied")
    other = one.model_copy(update={"post_id": "another", "verdict_id": "another", "author_id": "another"})
    assert drawn(one) == drawn(other)
    assert cluster_key(one) == cluster_key(other)


def test_posts_with_an_image_that_is_unknown_are_no_copies_of_each_other() -> None:
    unknown = examples.IMAGE.model_copy(update={"sha256": None, "status": "unavailable"})
    content = examples.CONTENT.model_copy(update={"images": (unknown,)})
    one, other = (examples.verdict(verdict_id=name, content=content) for name in "ab")
    assert cluster_key(one) != cluster_key(other)


def test_the_second_reviewer_is_drawn_among_audits_alone_and_at_its_share() -> None:
    by = settings(second_share=0.25)
    draws = [drawn(verdict(str(number), "block"), by) for number in range(4_000)]
    assert not any(draw.second for draw in draws if not draw.is_sampled)
    audits = [draw.second for draw in draws if draw.is_sampled]
    assert is_at_rate(sum(audits), len(audits), 0.25)


def test_a_seed_draws_others_at_the_same_rate() -> None:
    names = [str(number) for number in range(2_000)]

    def sampled(seed: str | None) -> set[str]:
        by = settings(seed=SecretStr(seed) if seed else None)
        return {name for name in names if drawn(verdict(name, "block"), by).is_sampled}

    one, other, none = sampled("one"), sampled("other"), sampled(None)
    assert len({frozenset(one), frozenset(other), frozenset(none)}) == 3
    assert len(one & other) / len(one) == pytest.approx(0.6, abs=0.05), "they are independent"


def test_rates_name_every_stratum() -> None:
    with pytest.raises(ValidationError, match="should name allow_middle, allow_near, abstain, review, block too"):
        AuditSettings(rates={"allow_low": 0.1})
    with pytest.raises(ValidationError, match="policy_rates need rates"):
        AuditSettings(policy_rates={"gore": 0.1})


def test_a_rate_of_a_policy_that_is_not_there_is_refused() -> None:
    with pytest.raises(Misconfigured, match="no enforced policy gorre"):
        check_policy_rates(settings(policy_rates={"gorre": 0.1}), ["gore"])
    check_policy_rates(settings(policy_rates={"gore": 0.1}), ["gore"])


def test_neyman_rates_spend_the_budget_where_the_variance_is() -> None:
    sizes = {"low": 100_000, "near": 1_000, "flagged": 500, "sure": 2_000}
    deviations = {"low": 0.01, "near": 0.4, "flagged": 0.5, "sure": 0.0}
    rates = neyman_rates(sizes, deviations, 500, floor=0.001)
    assert sum(sizes[name] * rates[name] for name in sizes) == pytest.approx(500)
    assert rates["near"] / rates["low"] == pytest.approx(0.4 / 0.01)
    assert rates["sure"] == 0.001, "no variance, but misses can be seen"
    variances = [
        sum(n * n * deviations[name] ** 2 / (n * rate) for (name, n), rate in zip(sizes.items(), at, strict=True))
        for at in (rates.values(), [500 / sum(sizes.values())] * 4)
    ]
    assert variances[0] < variances[1] / 2, "than with a uniform sample"


def test_neyman_rates_end_at_1_and_refuse_what_the_floor_costs_more_than() -> None:
    assert neyman_rates({"a": 10, "b": 10}, {"a": 1, "b": 0.1}, 11) == pytest.approx({"a": 1, "b": 0.1})
    rates = [neyman_rates({"a": 10, "b": 10}, {"a": 1, "b": 0.1}, budget)["b"] for budget in np.linspace(1, 20, 20)]
    assert all(one <= other for one, other in pairwise(rates))
    with pytest.raises(ValueError, match="does not pay for a floor"):
        neyman_rates({"a": 1_000}, {"a": 1}, 5, floor=0.01)
