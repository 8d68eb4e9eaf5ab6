"""What is right for a synthetic post: which policies it violates, and where the violation lies."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from moderation_service.contracts.enums import AttributionClass
from moderation_service.demo.glyphs import ImageClass
from moderation_service.demo.texts import Intent
from moderation_service.judging.decision import attribute

Shown = AbstractSet[ImageClass]
Said = AbstractSet[Intent]

PAIRS: dict[str, tuple[ImageClass, Intent]] = {
    "weapon_sale": ("weapon", "sale"),
    "health_misinformation": ("medical", "cure"),
    "financial_scam": ("money", "invest"),
    "minor_contact": ("child", "meet"),
    "dehumanisation": ("animal", "group"),
}
"""The policies that only an image and words together can violate."""


def _together(policy_id: str) -> Callable[[Shown, Said], bool]:
    cls, intent = PAIRS[policy_id]
    return lambda shown, said: cls in shown and intent in said


def _violence(shown: Shown, said: Said) -> bool:
    return "gore" in shown or "threat" in said or ("weapon" in shown and "menace" in said)


def _weapon_display(shown: Shown, said: Said) -> bool:
    # A museum or the news excuses, but not beside an offer or a threat.
    excused = "context" in said and said <= {"context", "neutral"}
    return "weapon" in shown and not excused


RULES: dict[str, Callable[[Shown, Said], bool]] = {
    **{policy_id: _together(policy_id) for policy_id in PAIRS},
    "violence": _violence,
    "doxxing": lambda _, said: "dox" in said,
    "weapon_display": _weapon_display,
}
"""For each shipped policy, whether a post with these images and intents violates it."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Whether the whole post violates a policy, and the attribution class that follows from its views."""

    violated: bool
    attribution: AttributionClass


def truths(shown: Shown, said: Said) -> dict[str, Truth]:
    """The truth for every shipped policy."""
    nothing: frozenset[str] = frozenset()
    told: dict[str, Truth] = {}
    for policy_id, rule in RULES.items():
        joint, text, image = rule(shown, said), rule(nothing, said), rule(shown, nothing)  # type: ignore[arg-type]
        told[policy_id] = Truth(joint, attribute(float(joint), float(text), float(image), 0.5).class_)
    return told
