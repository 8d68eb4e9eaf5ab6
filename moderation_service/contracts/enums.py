"""Closed sets of a verdict and a policy: each an enum, with what depends on the word as its properties."""

from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, assert_never

from pydantic_core import CoreSchema, core_schema

Colour = Literal["green", "violet", "amber", "red"]
"""On pages and in reports."""
Modality = Literal["text", "image"]


class ClosedSet(StrEnum):
    """A string enum that pydantic reads from its values, in strict models too. Its JSON Schema is a Literal's."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, __: object) -> CoreSchema:
        """A member, or the value of one."""
        written = core_schema.simple_ser_schema("str")
        return core_schema.enum_schema(cls, list(cls), sub_type="str", strict=False, serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, _: object, __: object) -> dict[str, Any]:
        """The values."""
        return {"enum": [word.value for word in cls], "type": "string"}


class Decision(ClosedSet):
    """What becomes of a post. By strength: block > review > abstain > allow."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"
    ABSTAIN = "abstain"

    @cached_property
    def is_flagged(self) -> bool:
        """Whether a post is not simply allowed."""
        return self is not Decision.ALLOW

    @cached_property
    def strength(self) -> int:
        """Of several decisions on a post the strongest counts."""
        return self._traits[0]

    @property
    def says_violation(self) -> bool:
        """Whether it says that the post violates: one that abstains says neither."""
        return self in {Decision.REVIEW, Decision.BLOCK}

    @cached_property
    def needs_review(self) -> bool:
        """Whether a person has to decide."""
        return self._traits[1]

    @cached_property
    def colour(self) -> Colour:
        """On pages and in reports."""
        return self._traits[2]

    @cached_property
    def _traits(self) -> tuple[int, bool, Colour]:
        match self:
            case Decision.ALLOW:
                return 0, False, "green"
            case Decision.ABSTAIN:
                return 1, True, "violet"
            case Decision.REVIEW:
                return 2, True, "amber"
            case Decision.BLOCK:
                return 3, False, "red"
        assert_never(self)


STRONGEST_FIRST = tuple(sorted(Decision, key=lambda decision: decision.strength, reverse=True))


class Outcome(ClosedSet):
    """What one policy's score leads to."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"

    @cached_property
    def is_flagged(self) -> bool:
        """Whether the policy does not simply allow the post."""
        return self is not Outcome.ALLOW

    @cached_property
    def decision(self) -> Decision:
        """The decision on a post for which no policy has a stronger outcome."""
        return Decision(self)


class DecidedBy(ClosedSet):
    """What the decision on a post follows from: known content alone, or what the model answered."""

    BANK = "bank"
    MODEL = "model"


class Route(ClosedSet):
    """Where a post goes that only few may see."""

    CHILD_SAFETY = "child_safety"


class ReviewDecision(ClosedSet):
    """What a reviewer decides."""

    ALLOW = "allow"
    BLOCK = "block"


class AuditRound(ClosedSet):
    """Which of an audit's blind answers a review is: adjudication settles where the first two differ."""

    FIRST = "first"
    SECOND = "second"
    ADJUDICATION = "adjudication"


class Trigger(ClosedSet):
    """Why a post was judged: it came, or past posts are judged again."""

    POST = "post"
    REJUDGE = "rejudge"


class Mode(ClosedSet):
    """Whether a policy decides, or is judged and listed only."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class AttributionClass(ClosedSet):
    """Where a violation lies. `combined`: only in both modalities; `context_mitigated`: in one of them, not in both."""

    IMAGE_ONLY = "image_only"
    TEXT_ONLY = "text_only"
    EITHER = "either"
    COMBINED = "combined"
    CONTEXT_MITIGATED = "context_mitigated"
    NONE = "none"

    @property
    def is_violation(self) -> bool:
        """Whether the full post violates the policy."""
        return self not in {AttributionClass.CONTEXT_MITIGATED, AttributionClass.NONE}

    @property
    def only_modality(self) -> Modality | None:
        """The one modality that the violation lies in; None where it is not one alone."""
        match self:
            case AttributionClass.TEXT_ONLY:
                return "text"
            case AttributionClass.IMAGE_ONLY:
                return "image"
            case _:
                return None


class AbstainReason(ClosedSet):
    """Why an `allow` would be a guess."""

    IMAGE_UNAVAILABLE = "image_unavailable"
    IMAGE_UNDECODABLE = "image_undecodable"
    IMAGE_SKIPPED = "image_skipped"
    TRUNCATED = "truncated"
    LABEL_MASS_LOW = "label_mass_low"


class ImageStatus(ClosedSet):
    """Whether an image was judged, or why not."""

    JUDGED = "judged"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    UNSUPPORTED = "unsupported"
    SKIPPED = "skipped"

    @property
    def abstain_reason(self) -> AbstainReason | None:
        """Why a post with such an image can't be allowed; None where the image was judged."""
        match self:
            case ImageStatus.JUDGED:
                return None
            case ImageStatus.UNAVAILABLE | ImageStatus.REFUSED | ImageStatus.TOO_LARGE:
                return AbstainReason.IMAGE_UNAVAILABLE
            case ImageStatus.UNDECODABLE | ImageStatus.UNSUPPORTED:
                return AbstainReason.IMAGE_UNDECODABLE
            case ImageStatus.SKIPPED:
                return AbstainReason.IMAGE_SKIPPED
        assert_never(self)


class ImageFlag(ClosedSet):
    """What a reviewer should know of a judged image."""

    DOWNSCALED = "downscaled"
    TRUNCATED = "truncated"


class Flag(ClosedSet):
    """What a reviewer should know of a post, whatever the decision."""

    IMAGE_MISSING = "image_missing"
    IMAGE_DOWNSCALED = "image_downscaled"
    IMAGE_TRUNCATED = "image_truncated"
    TRUNCATED = "truncated"
    INJECTION_SUSPECTED = "injection_suspected"


class ExplanationKind(ClosedSet):
    """Who wrote an explanation."""

    TEMPLATE = "template"
    GENERATED = "generated"
