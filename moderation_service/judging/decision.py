"""Decision: from policy outcomes, known content and what could not be seen. Strength: block > review > abstain > allow.

Attribution, where a violation lies, is measured: the post is scored whole, by its words alone, by its images alone.
"""

import math
from collections.abc import Iterable, Mapping

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.enums import (
    AbstainReason,
    AttributionClass,
    DecidedBy,
    Decision,
    Flag,
    ImageFlag,
    ImageStatus,
    Outcome,
    Route,
)
from moderation_service.contracts.verdict import Attribution, Content, PolicyVerdict, Thresholds
from moderation_service.judging.known_content import KnownContent
from moderation_service.policies.model import Policy


def attribute(joint: float, text_only: float | None, image_only: float | None, threshold: float) -> Attribution:
    """Classify by the three scores at one threshold; None is a modality that the post does not have."""
    found = classify(
        joint=joint >= threshold,
        text=text_only is not None and text_only >= threshold,
        image=image_only is not None and image_only >= threshold,
    )
    return Attribution(class_=found, joint=joint, text_only=text_only, image_only=image_only)


def classify(*, joint: bool, text: bool, image: bool) -> AttributionClass:
    """The class of a post that violates a policy as a whole (`joint`), by its text alone, by its images alone."""
    if not joint:
        return AttributionClass.CONTEXT_MITIGATED if text or image else AttributionClass.NONE
    if text and image:
        return AttributionClass.EITHER
    if text:
        return AttributionClass.TEXT_ONLY
    return AttributionClass.IMAGE_ONLY if image else AttributionClass.COMBINED


def outcome(score: float, thresholds: Thresholds, alone: Iterable[float] = (), *, may_block: bool = True) -> Outcome:
    """One policy's outcome by its calibrated score, and by those of each modality `alone`.

    A modality that would be blocked alone is at least reviewed: what is added to it may be there to dilute it. Where a
    policy may not block, a person decides.
    """
    block = math.inf if thresholds.block is None else thresholds.block
    if score >= block:
        return Outcome.BLOCK if may_block else Outcome.REVIEW
    return Outcome.REVIEW if score >= thresholds.review or any(one >= block for one in alone) else Outcome.ALLOW


def find_abstain_reason(
    content: Content, policies: Iterable[PolicyVerdict], min_label_mass: float
) -> AbstainReason | None:
    """Why an `allow` would be a guess, the weightiest reason first; None when all was seen and answered."""
    for image in content.images:
        if reason := image.status.abstain_reason:
            return reason
    if content.truncated:
        return AbstainReason.TRUNCATED
    is_low = any(policy.label_mass < min_label_mass for policy in policies)
    return AbstainReason.LABEL_MASS_LOW if is_low else None


def decide(policies: Iterable[PolicyVerdict], reason: AbstainReason | None) -> Decision:
    """The strongest outcome of the enforced policies; what would have been `allow` is `abstain` with a reason."""
    weakest = Decision.ABSTAIN if reason else Decision.ALLOW
    return max((weakest, *(policy.outcome.decision for policy in policies)), key=lambda each: each.strength)


def with_known_content(decision: Decision, known: KnownContent) -> tuple[Decision, DecidedBy]:
    """The policies' decision, or that of banks where it is final or the stronger; and which of them it is."""
    if known.decision and (known.is_final or known.decision.strength > decision.strength):
        return known.decision, DecidedBy.BANK
    return decision, DecidedBy.MODEL


def find_route(policies: Iterable[PolicyVerdict], by_id: Mapping[str, Policy]) -> Route | None:
    """The route of a policy that flags the post; None where none of them has one."""
    flagged = (by_id[policy.policy_id] for policy in policies if policy.outcome.is_flagged)
    return next((policy.route for policy in flagged if policy.route), None)


def gravest_match(matches: Iterable[BankMatch]) -> BankMatch | None:
    """The match that counts: one with a route, then that of the strongest action, then of the highest severity."""

    def weight(match: BankMatch) -> tuple[bool, int, int]:
        decision = match.action.decision
        return match.route is not None, decision.strength if decision else 0, match.severity

    return max(matches, key=weight, default=None)


def gravest_first(policies: Iterable[PolicyVerdict]) -> list[PolicyVerdict]:
    """The policies that flag the post: what blocks before what goes to review, then by severity, then by score."""

    def weight(policy: PolicyVerdict) -> tuple[int, int, float]:
        return policy.outcome.decision.strength, policy.severity, policy.score

    return sorted((policy for policy in policies if policy.outcome.is_flagged), key=weight, reverse=True)


def flags(content: Content, *, suspected: bool) -> tuple[Flag, ...]:
    """What a reviewer should know of the input, whatever the decision."""
    images = content.images
    found = {
        Flag.IMAGE_MISSING: any(image.status != ImageStatus.JUDGED for image in images),
        Flag.IMAGE_DOWNSCALED: any(ImageFlag.DOWNSCALED in image.flags for image in images),
        Flag.IMAGE_TRUNCATED: any(ImageFlag.TRUNCATED in image.flags for image in images),
        Flag.TRUNCATED: content.truncated,
        Flag.INJECTION_SUSPECTED: suspected,
    }
    return tuple(flag for flag, is_set in found.items() if is_set)
