"""A flagged post's statement of reasons, drafted from policy, attribution and decision. No generated word."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AttributionClass, Decision, Flag, Modality
from moderation_service.contracts.post import Post
from moderation_service.contracts.statement import (
    EEA,
    MAX_EXPLANATION,
    MAX_FACTS,
    MAX_GROUND,
    DsaCategory,
    StatementOfReasons,
)
from moderation_service.contracts.verdict import PolicyVerdict, Verdict
from moderation_service.judging.decision import gravest_first
from moderation_service.policies.model import Policy

ContentType = Literal["CONTENT_TYPE_IMAGE", "CONTENT_TYPE_TEXT"]

_ISO_639_1 = 2
_CONTENT_TYPES: dict[Modality, ContentType] = {"image": "CONTENT_TYPE_IMAGE", "text": "CONTENT_TYPE_TEXT"}
_BOTH = tuple(_CONTENT_TYPES.values())


@dataclass(frozen=True, slots=True)
class StatementWording:
    """The sentences of a draft in one language. None tells a score or a threshold: they would help to evade."""

    ground: str
    explanation: str
    without_views: str
    judged: str
    fact: str
    violated: str
    unseen: str
    blocked: str
    to_review: str
    redress: str
    between: str


_WORDINGS: dict[Language, StatementWording] = {
    "en": StatementWording(
        ground="Policy “{title}” ({id}), version {version}",
        explanation="The policy asks: “{question}” Of this post, {place}.",
        without_views="the answer is yes",
        judged="An automated system judged the post by the platform's policies.",
        fact="Policy “{title}”, version {version}: {place}.",
        violated="the post violates it",
        unseen="Not all of the post could be judged.",
        blocked="The decision to block was taken automatically.",
        to_review="A person is to decide.",
        redress=(
            "You can complain about this decision to the platform, free of charge, within six months. You can also turn"
            " to a certified out-of-court dispute settlement body, or to a court."
        ),
        between=" ",
    ),
    "zh": StatementWording(
        ground="政策“{title}”（{id}），第 {version} 版",
        explanation="政策的问题是：“{question}”就该帖子而言，{place}。",
        without_views="答案为“是”",
        judged="系统依据平台政策自动判断了该帖子。",
        fact="政策“{title}”，第 {version} 版：{place}。",
        violated="该帖子构成违规",
        unseen="该帖子未能完整判断。",
        blocked="屏蔽决定由系统自动作出。",
        to_review="有待人工决定。",
        redress="您可以在六个月内免费向平台投诉本决定，也可以向经认证的庭外争议解决机构或法院寻求救济。",
        between="",
    ),
}


_PLACES: dict[Language, dict[AttributionClass, str]] = {
    "en": {
        AttributionClass.COMBINED: "only the image and the words together violate it",
        AttributionClass.TEXT_ONLY: "the words alone violate it",
        AttributionClass.IMAGE_ONLY: "the image alone violates it",
        AttributionClass.EITHER: "the words and the image each violate it",
        AttributionClass.CONTEXT_MITIGATED: (
            "the words or the image alone would be blocked, and both together do not violate it"
        ),
    },
    "zh": {
        AttributionClass.COMBINED: "图片与文字结合才构成违规",
        AttributionClass.TEXT_ONLY: "仅文字即构成违规",
        AttributionClass.IMAGE_ONLY: "仅图片即构成违规",
        AttributionClass.EITHER: "文字与图片各自均构成违规",
        AttributionClass.CONTEXT_MITIGATED: "文字或图片单独看应被拦截，两者结合则不构成违规",
    },
}


def draft_statement(
    verdict: Verdict, post: Post, policies: Mapping[str, Policy], language: Language, redress: str | None = None
) -> StatementOfReasons | None:
    """The draft for a block or a review; None where no policy is violated. `policies` are the judged ones, by id.

    `redress` is the owner's text on how a decision can be contested; without it the law's three ways are named.
    The gravest violated policy gives ground and category, all of them the further categories and the facts.
    """
    violated = gravest_first(verdict.policies)
    if not violated:
        return None
    blocked = verdict.decision is Decision.BLOCK
    gravest, own = violated[0], policies[violated[0].policy_id]
    wording = _WORDINGS[language]
    category = _category(own)
    others = {_category(policies[policy.policy_id]) for policy in violated[1:]} - {category}
    ground = wording.ground.format(title=own.title.in_language(language), id=own.id, version=gravest.version)
    explanation = _cut(
        wording.explanation.format(
            question=own.question.in_language(language),
            place=place_in_words(gravest, language) or wording.without_views,
        ),
        MAX_EXPLANATION,
    )
    law = own.statement.legal_ground
    primary = (post.language or "").split("-")[0]
    return StatementOfReasons(
        decision_visibility=("DECISION_VISIBILITY_CONTENT_DISABLED",) if blocked else (),
        decision_ground="DECISION_GROUND_ILLEGAL_CONTENT" if law else "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        decision_ground_reference_url=own.statement.reference_url,
        illegal_content_legal_ground=law,
        illegal_content_explanation=explanation if law else None,
        incompatible_content_ground=None if law else _cut(ground, MAX_GROUND),
        incompatible_content_explanation=None if law else explanation,
        category=category,
        category_addition=tuple(sorted(others)),
        content_type=_content_type(violated, verdict),
        content_language=primary.upper() if len(primary) == _ISO_639_1 else None,
        content_date=post.created_at.date().isoformat() if post.created_at else None,
        application_date=verdict.judged_at.date().isoformat() if blocked else None,
        territorial_scope=tuple(sorted(own.statement.territorial_scope)) or EEA,
        decision_facts=_cut(_facts(violated, verdict, policies, language), MAX_FACTS),
        automated_decision="AUTOMATED_DECISION_FULLY" if blocked else "AUTOMATED_DECISION_PARTIALLY",
        puid=verdict.verdict_id,
        redress=redress or wording.redress,
    )


def place_in_words(policy: PolicyVerdict, language: Language) -> str | None:
    """Where the violation of a violated policy lies, in words; None where that was not measured."""
    return _PLACES[language][policy.attribution.class_] if policy.attribution else None


def _category(policy: Policy) -> DsaCategory:
    return policy.dsa_category or "STATEMENT_CATEGORY_OTHER_VIOLATION_TC"


def _content_type(violated: Sequence[PolicyVerdict], verdict: Verdict) -> tuple[ContentType, ...]:
    """What the violations lie in; where that was not measured, all that was judged of the post."""
    if any(policy.attribution is None for policy in violated):
        judged = verdict.content.modalities
        return tuple(kind for modality, kind in _CONTENT_TYPES.items() if modality in judged)
    found = {policy.attribution.class_.only_modality for policy in violated if policy.attribution}
    return tuple(kind for modality, kind in _CONTENT_TYPES.items() if found == {modality}) or _BOTH


def _facts(
    violated: Iterable[PolicyVerdict], verdict: Verdict, policies: Mapping[str, Policy], language: Language
) -> str:
    wording = _WORDINGS[language]
    facts = [
        wording.fact.format(
            title=policies[policy.policy_id].title.in_language(language),
            version=policy.version,
            place=place_in_words(policy, language) or wording.violated,
        )
        for policy in violated
    ]
    ending = wording.blocked if verdict.decision is Decision.BLOCK else wording.to_review
    unseen = [wording.unseen] if {Flag.IMAGE_MISSING, Flag.TRUNCATED}.intersection(verdict.flags) else []
    return wording.between.join([wording.judged, *facts, *unseen, ending])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
