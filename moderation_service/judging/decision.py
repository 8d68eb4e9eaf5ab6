"""Decision: from policy outcomes and what could not be seen. Strength: block > review > abstain > allow.

Attribution, where a violation lies, is measured: the post is scored whole, by its words alone, by its images alone.
"""

import math
from collections.abc import Iterable, Sequence

from moderation_service.contracts.verdict import (
    AbstainReason,
    Attribution,
    AttributionClass,
    Content,
    Decision,
    Flag,
    ImageStatus,
    Outcome,
    PolicyVerdict,
    Thresholds,
)

STRENGTH: tuple[Decision, ...] = ("allow", "abstain", "review", "block")
_UNSEEN: dict[ImageStatus, AbstainReason] = {
    "unavailable": "image_unavailable",
    "refused": "image_unavailable",
    "too_large": "image_unavailable",
    "undecodable": "image_undecodable",
    "unsupported": "image_undecodable",
    "skipped": "image_skipped",
}


def attribute(joint: float, text_only: float | None, image_only: float | None, threshold: float) -> Attribution:
    """Classify by the three scores at one threshold; None is a modality that the post does not have.

    `combined`: only both together are over. `context_mitigated`: one alone is over, both together are not.
    """
    text = text_only is not None and text_only >= threshold
    image = image_only is not None and image_only >= threshold
    named: AttributionClass
    if joint < threshold:
        named = "context_mitigated" if text or image else "none"
    elif text and image:
        named = "either"
    elif text:
        named = "text_only"
    elif image:
        named = "image_only"
    else:
        named = "combined"
    return Attribution(class_=named, joint=joint, text_only=text_only, image_only=image_only)


def outcome(score: float, thresholds: Thresholds, alone: Iterable[float] = (), *, may_block: bool = True) -> Outcome:
    """One policy's outcome by its calibrated score, and by those of each modality `alone`.

    A modality that would be blocked alone is at least reviewed: what is added to it may be there to dilute it. Where a
    policy may not block, a person decides.
    """
    block = math.inf if thresholds.block is None else thresholds.block
    if score >= block:
        return "block" if may_block else "review"
    return "review" if score >= thresholds.review or any(one >= block for one in alone) else "allow"


def find_abstain_reason(
    content: Content, policies: Iterable[PolicyVerdict], min_label_mass: float
) -> AbstainReason | None:
    """Why an `allow` would be a guess, the weightiest reason first; None when all was seen and answered."""
    for image in content.images:
        if image.status in _UNSEEN:
            return _UNSEEN[image.status]
    if content.truncated:
        return "truncated"
    return "label_mass_low" if any(policy.label_mass < min_label_mass for policy in policies) else None


def decide(policies: Sequence[PolicyVerdict], reason: AbstainReason | None) -> Decision:
    """The strongest outcome of the enforced policies; what would have been `allow` is `abstain` with a reason."""
    weakest: Decision = "abstain" if reason else "allow"
    return max((weakest, *(policy.outcome for policy in policies)), key=STRENGTH.index)


def gravest_first(policies: Iterable[PolicyVerdict]) -> list[PolicyVerdict]:
    """The policies that flag the post: what blocks before what goes to review, then by severity, then by score."""

    def weight(policy: PolicyVerdict) -> tuple[int, int, float]:
        return STRENGTH.index(policy.outcome), policy.severity, policy.score

    return sorted((policy for policy in policies if policy.outcome != "allow"), key=weight, reverse=True)


def flags(content: Content, *, suspected: bool) -> tuple[Flag, ...]:
    """What a reviewer should know of the input, whatever the decision."""
    found: list[Flag] = []
    if any(image.status != "judged" for image in content.images):
        found.append("image_missing")
    if any("downscaled" in image.flags for image in content.images):
        found.append("image_downscaled")
    if any("truncated" in image.flags for image in content.images):
        found.append("image_truncated")
    if content.truncated:
        found.append("truncated")
    if suspected:
        found.append("injection_suspected")
    return tuple(found)
