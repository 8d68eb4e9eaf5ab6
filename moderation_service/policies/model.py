"""One policy: what is asked, what it means, what follows from a score, and the posts that try it.

A field's description says what would be right: it is shown in the JSON Schema and in every refusal.
"""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from moderation_service.contracts.engine_input import Language, Question
from moderation_service.contracts.enums import AttributionClass, ClosedSet, Modality, Mode, Outcome, Route
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.statement import MAX_GROUND, OTHER_VIOLATION, Country, DsaCategory
from moderation_service.languages.wordings import OF_PROMPT_DIGEST, wording_of
from moderation_service.policies.categories import (
    AiluminateCategories,
    CountryCode,
    DsaCategories,
    NoIsNorway,
    OpenAICategories,
)
from moderation_service.policies.texts import Questions, Texts

_NOT_JUDGED = {
    "title", "scope", "statement", "restricted", "ailuminate_category", "owner", "jurisdictions", "cases"
}  # fmt: skip


class Expectation(ClosedSet):
    """What a policy's owner expects of a case."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"
    VIOLATION = "violation"

    def is_met_by(self, outcome: Outcome) -> bool:
        """Whether the policy's outcome is the expected; a violation is expected without saying what follows."""
        return outcome.is_flagged if self is Expectation.VIOLATION else self.value == outcome


class PolicySection(BaseModel):
    """A part of a policy."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", str_strip_whitespace=True)


class Scope(PolicySection):
    """The posts a policy applies to."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] = Field(
        default=("text", "image"), description="a list of text and image; the post must have at least one of them"
    )
    surfaces: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        default=(), description="a list of surfaces such as feed or market; empty means all"
    )


class PolicyThresholds(PolicySection):
    """The scores from which a post goes to review, and from which it is blocked, if ever."""

    review: float = Field(gt=0, le=1, allow_inf_nan=False, description="a score over 0 and at most 1, not over block")
    block: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        description="a score over 0 and at most 1, not under review, or null where no score blocks"
    )

    @field_validator("block")
    @classmethod
    def _not_under_review(cls, block: float | None, info: ValidationInfo) -> float | None:
        review = info.data.get("review")
        if review is not None and block is not None and block < review:
            msg = f"{block:g} is under review ({review:g}); should be at least {review:g}"
            raise ValueError(msg)
        return block


class Statement(PolicySection):
    """What a statement of reasons says of a policy beside its category; judges and decides nothing."""

    legal_ground: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_GROUND,
        description="the law that a violating post breaks, or null: then the ground is the platform's terms",
    )
    reference_url: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        max_length=MAX_GROUND,
        description="the address of the terms or the law, as https://example.com/terms, or null",
    )
    territorial_scope: Annotated[tuple[Country, ...], NoIsNorway] = Field(
        default=(), description="a list of countries of the EU or EEA such as DE and FR; empty means all"
    )


class Case(PolicySection):
    """A post with the result the policy's owner expects."""

    name: str = Field(min_length=1, max_length=120, description="a short name, once in the policy")
    text: str = Field(default="", max_length=4000, description="the post's words")
    language: str | None = Field(
        default=None, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", description="a language tag such as en or zh-CN"
    )
    surface: str | None = Field(default=None, min_length=1, max_length=64, description="the surface, such as feed")
    images: tuple[Annotated[str, Field(pattern=r"^[^\\%?#:]+$", max_length=255)], ...] = Field(
        default=(), description="a list of paths of images, from the policy's folder, as images/knife.png"
    )
    expect: Expectation = Field(description="allow, review, block, or violation (review or block)")
    attribution: AttributionClass | None = Field(
        default=None, description="where the violation is: one of the six attribution classes, or left out"
    )

    @field_validator("attribution")
    @classmethod
    def _fits_expect(cls, attribution: AttributionClass | None, info: ValidationInfo) -> AttributionClass | None:
        expect = info.data.get("expect")
        allowed = (AttributionClass.NONE, AttributionClass.CONTEXT_MITIGATED)  # the last: one modality alone blocks
        flagged = tuple(each for each in AttributionClass if each is not AttributionClass.NONE)
        fitting = allowed if expect == Expectation.ALLOW else flagged
        if attribution and expect and attribution not in fitting:
            right = ", ".join(fitting[:-1]) + f" or {fitting[-1]}"
            msg = f"{attribution} cannot go with expect: {expect}; should be {right}"
            raise ValueError(msg)
        return attribution

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not self.text and not self.images:
            msg = "has neither text nor images; should have one of them"
            raise ValueError(msg)
        return self


class Policy(PolicySection):
    """A written policy as the owner's file holds it."""

    id: str = Field(
        pattern=r"^[a-z][a-z0-9_]{1,63}$",
        description="2 to 64 small letters, digits and underscores, a letter first, the same as the file's name",
    )
    version: int = Field(ge=1, description="a whole number from 1, one more with each change of what is judged")
    title: Texts = Field(description="a name for people, by language, as en: and de:")
    question: Questions = Field(
        description="the question whose answer yes means a violation, by language, at most 200 characters each"
    )
    definition: Texts = Field(
        description="what violates, what does not, and examples, for reviewers and large models, by language"
    )
    scope: Scope = Field(default=Scope(), description="the posts the policy applies to, as modalities and surfaces")
    severity: int = Field(ge=1, le=5, description="a whole number from 1 (mild) to 5 (gravest)")
    thresholds: PolicyThresholds = Field(description="two scores, as review and block")
    mode: Mode = Field(default=Mode.ENFORCE, description="enforce, or shadow (judged and listed, decides nothing)")
    route: Route | None = Field(
        default=None,
        description="child_safety where a post that the policy flags goes to the legal hold and to few people, or null",
    )
    restricted: bool = Field(
        default=False,
        description="true where a person should see images of violating posts only after asking twice, or false",
    )
    dsa_category: DsaCategories = Field(
        default=(),
        description="one or more categories of the EU DSA Transparency Database, the main one first, or null",
    )
    statement: Statement = Field(
        default=Statement(),
        description="for the statement of reasons, as legal_ground, reference_url and territorial_scope",
    )
    openai_category: OpenAICategories = Field(
        default=(),
        description="one or more categories of OpenAI's moderation answers that this policy fills, or null",
    )
    ailuminate_category: AiluminateCategories = Field(
        default=(), description="one or more hazards of MLCommons' AILuminate, or null"
    )
    owner: str | None = Field(
        default=None, min_length=1, max_length=120, description="the team that answers for the policy, or null"
    )
    jurisdictions: Annotated[tuple[CountryCode, ...], NoIsNorway] = Field(
        default=(),
        description="a list of the countries that the policy is written for, such as DE and US; empty means all",
    )
    cases: tuple[Case, ...] = Field(default=(), description="a list of posts with the result they should have")

    @field_validator("question", "definition")
    @classmethod
    def _in_the_languages_of_the_title(cls, texts: Texts, info: ValidationInfo) -> Texts:
        title = info.data.get("title")
        if title is not None and set(texts.root) != set(title.root):
            msg = f"is in {', '.join(texts.root)} and title in {', '.join(title.root)}; should be in the same languages"
            raise ValueError(msg)
        return texts

    @field_validator("route")
    @classmethod
    def _decides_where_it_routes(cls, route: Route | None, info: ValidationInfo) -> Route | None:
        if route and info.data.get("mode") is Mode.SHADOW:
            msg = f"{route} cannot go with mode: shadow, which decides nothing; should be null or mode: enforce"
            raise ValueError(msg)
        return route

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages that it is written in."""
        return tuple(self.question.root)

    @cached_property
    def digest(self) -> str:
        """Digest of what is judged and decided: of all but titles, cases and what is cited or shown to people.

        The prompt's sentences in its languages are part of it, where the engine's prompt digest does not cover them.
        """
        judged = self.model_dump(mode="json", exclude=_NOT_JUDGED)
        if self.route is None:  # the digests of policies from before there were routes stay as they are
            del judged["route"]
        covered = [wording_of(language).prompt for language in OF_PROMPT_DIGEST]
        prompts = {language: wording_of(language).prompt for language in self.languages}
        if own := {language: prompt.model_dump() for language, prompt in prompts.items() if prompt not in covered}:
            judged["prompts"] = own
        judged["scope"] = [sorted(set(self.scope.modalities)), sorted(set(self.scope.surfaces))]
        return digest_of(judged)

    @property
    def dsa_categories(self) -> tuple[DsaCategory, ...]:
        """Its DSA categories, the main one first; without any, another violation of the terms."""
        return self.dsa_category or (OTHER_VIOLATION,)

    def applies_to(self, has_text: bool, has_images: bool, surface: str | None) -> bool:  # noqa: FBT001 - named by callers
        """Whether the post has a modality of the scope, and comes from a surface of it if any are listed."""
        has = {"text": has_text, "image": has_images}
        if not any(has[modality] for modality in self.scope.modalities):
            return False
        return not self.scope.surfaces or surface in self.scope.surfaces

    def to_question(self, language: Language) -> Question:
        """What an engine is asked for this policy."""
        return Question(self.id, self.question.in_language(language), self.definition.in_language(language))

    def post(self, case: Case) -> Post:
        """The case as a post; its images are `file:` addresses relative to the policy's folder."""
        return Post(
            post_id=f"{self.id}/{case.name}",
            language=case.language,
            surface=case.surface,
            text=case.text,
            images=tuple(ImageRef(url=f"file:{path}") for path in case.images),
        )


def policy_schema() -> str:
    """The JSON Schema of a policy file as text: editors check a policy with it while it is written."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def digest_of(value: object) -> str:
    """`sha256:` and the hex digest of the value as canonical JSON: sorted keys, no spaces, UTF-8."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
