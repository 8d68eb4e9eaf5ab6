"""From policy outcomes and what could not be seen to one decision. Strength: block > review > abstain > allow."""

from collections.abc import Iterable, Sequence

from moderation_service.contracts.verdict import (
    AbstainReason,
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


def outcome(score: float, thresholds: Thresholds) -> Outcome:
    """One policy's outcome by its calibrated score."""
    if thresholds.block is not None and score >= thresholds.block:
        return "block"
    return "review" if score >= thresholds.review else "allow"


def cannot_tell(content: Content, policies: Iterable[PolicyVerdict], min_label_mass: float) -> AbstainReason | None:
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
    """The violated policies: what blocks before what goes to review, then by severity, then by score."""

    def weight(policy: PolicyVerdict) -> tuple[int, int, float]:
        return STRENGTH.index(policy.outcome), policy.severity, policy.score

    return sorted((policy for policy in policies if policy.violated), key=weight, reverse=True)


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
