"""Stratified sampling of verdicts for audits: a verdict's stratum, and whether it is drawn.

A stratum follows from the decision and the scores, the probability from the stratum alone. What is drawn follows from a
hash of the content's key, so that the copies of a content are drawn together, as one cluster.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

import numpy as np

from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.verdict import PolicyVerdict, Verdict, content_key
from moderation_service.errors import Misconfigured
from moderation_service.settings import AuditSettings
from moderation_service.settings.audit import Stratum

_NEAR, _MIDDLE = 0.5, 0.1  # of the review threshold; bands of allowed posts begin there
_HALVINGS = 60  # of an interval of floats, until nothing of it is left


class AuditSampler:
    """Draws by `audit.rates`, and by a hash of its own: which contents are drawn tells nothing of other samples.

    With `audit.seed` nobody without it can foretell what is drawn.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self._rates, self._policy_rates = settings.rates, settings.policy_rates
        self._second_share = settings.second_share
        self._seed = settings.seed.get_secret_value().encode() if settings.seed else b""

    def draw(self, verdict: Verdict) -> AuditDraw | None:
        """The verdict's draw; None where audits are off, and of a verdict with a route."""
        if not self._rates or verdict.route:
            return None
        stratum, probability = self._stratum(verdict.decision, verdict.policies)
        key = cluster_key(verdict)
        is_sampled = self._unit("audit", key) < probability
        second = is_sampled and self._unit("second reviewer", key) < self._second_share
        return AuditDraw(stratum=stratum, probability=probability, is_sampled=is_sampled, second=second)

    def _stratum(self, decision: Decision, policies: Sequence[PolicyVerdict]) -> tuple[str, float]:
        """The stratum and its probability; of several rare policies the one that is drawn most counts."""
        base = _band(decision, policies)
        rate = self._rates[base]
        close = [
            part.policy_id for part in policies if _reaches(part, _MIDDLE) and part.policy_id in self._policy_rates
        ]
        rare = max(close, key=lambda name: (self._policy_rates[name], name), default=None)
        return (base, rate) if rare is None else (f"{base}:{rare}", max(rate, self._policy_rates[rare]))

    def _unit(self, purpose: str, key: str) -> float:
        """Uniform in [0, 1), another for each purpose."""
        digest = hmac.new(self._seed, f"moderation {purpose}\0{key}".encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:7]) / 2**56


def cluster_key(verdict: Verdict) -> str:
    """What copies of a content, judged alike, have in common.

    A verdict on images of which one is unknown is alone: it may be another one in a post of the same words.
    """
    content = verdict.content
    if not all(image.sha256 for image in content.images):
        return verdict.verdict_id
    return content_key(content, verdict.surface, verdict.policy_set_digest, verdict.model, verdict.matches)


def check_policy_rates(settings: AuditSettings, policy_ids: Iterable[str]) -> None:
    """Raise Misconfigured where a rate is of a policy that there is none of."""
    if unknown := sorted(settings.policy_rates.keys() - set(policy_ids)):
        msg = f"audit.policy_rates: no enforced policy {unknown[0]}; name one of the pack's, or leave it out"
        raise Misconfigured(msg)


def neyman_rates(
    sizes: Mapping[str, float], deviations: Mapping[str, float], budget: float, floor: float = 0.0
) -> dict[str, float]:
    """Neyman allocation (Neyman, 1934): rates by stratum that spend `budget` labels with the least variance.

    `sizes`: verdicts N_h, `deviations`: s_h of what is estimated, so that n_h is proportional to N_h * s_h. No rate is
    under `floor`, so that misses in the lowest scores can be seen at all, and none is over 1. Raises ValueError where
    the budget does not pay for the floor.
    """
    n = np.array([sizes[name] for name in sizes], float)
    s = np.array([deviations[name] for name in sizes], float)
    if budget < floor * n.sum():
        msg = f"a budget of {budget:g} labels does not pay for a floor of {floor:g} of {n.sum():g} verdicts"
        raise ValueError(msg)
    low, high = 0.0, 1.0 / max(min(s[s > 0], default=1.0), 1e-300)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (n * np.clip(middle * s, floor, 1.0)).sum() < budget else (low, middle)
    return dict(zip(sizes, np.clip(high * s, floor, 1.0).tolist(), strict=True))


def _band(decision: Decision, policies: Sequence[PolicyVerdict]) -> Stratum:
    match decision:
        case Decision.ALLOW:
            if any(_reaches(part, _NEAR) for part in policies):
                return "allow_near"
            return "allow_middle" if any(_reaches(part, _MIDDLE) for part in policies) else "allow_low"
        case Decision.ABSTAIN:
            return "abstain"
        case Decision.REVIEW:
            return "review"
        case Decision.BLOCK:
            return "block"
    assert_never(decision)


def _reaches(part: PolicyVerdict, share: float) -> bool:
    return part.score >= share * part.thresholds.review
