"""Where a violation lies, measured: the post scored whole, by its words alone, by its pictures alone."""

from moderation_service.contracts.verdict import Attribution, AttributionClass


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
