"""A flagged post's statement of reasons, drafted from policy, attribution and decision. No generated word."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import DecidedBy, Decision, Flag, Modality
from moderation_service.contracts.post import Post
from moderation_service.contracts.statement import (
    EEA,
    MAX_EXPLANATION,
    MAX_FACTS,
    MAX_GROUND,
    OTHER_VIOLATION,
    DsaCategory,
    StatementOfReasons,
)
from moderation_service.contracts.verdict import PolicyVerdict, Verdict
from moderation_service.judging.decision import gravest_first, gravest_match
from moderation_service.languages.tags import names_language
from moderation_service.languages.wordings import wording_of
from moderation_service.policies.model import Policy, Statement

ContentType = Literal["CONTENT_TYPE_IMAGE", "CONTENT_TYPE_TEXT"]

_ISO_639_1 = 2
_CONTENT_TYPES: dict[Modality, ContentType] = {"image": "CONTENT_TYPE_IMAGE", "text": "CONTENT_TYPE_TEXT"}
_BOTH = tuple(_CONTENT_TYPES.values())


class _Reasons(NamedTuple):
    """What a statement rests on. `policy` is None for known content of no judged policy."""

    policy: Policy | None
    ground: str
    explanation: str
    facts: tuple[str, ...]
    content_type: tuple[ContentType, ...]
    categories: frozenset[DsaCategory] = frozenset()


def draft_statement(
    verdict: Verdict, post: Post, policies: Mapping[str, Policy], language: Language, redress: str | None = None
) -> StatementOfReasons | None:
    """The draft for a block or a review; None where no policy is violated. `policies` are the judged ones, by id.

    `redress` is the owner's text on how a decision can be contested; without it the law's three ways are named.
    The gravest violated policy gives ground and main category, all of them the further categories and the facts. Where
    a bank decided, its policy does, if that is among `policies`.
    """
    match = gravest_match(verdict.matches) if verdict.decided_by is DecidedBy.BANK else None
    violated = gravest_first(verdict.policies)
    if not verdict.decision.is_flagged or not (match or violated):
        return None
    reasons = _by_bank(match, policies, language) if match else _by_policies(violated, verdict, policies, language)
    blocked, wording = verdict.decision is Decision.BLOCK, wording_of(language).statement
    own, statement = reasons.policy, reasons.policy.statement if reasons.policy else Statement()
    category = own.dsa_categories[0] if own else OTHER_VIOLATION
    explanation = _cut(reasons.explanation, MAX_EXPLANATION)
    unseen = [wording.unseen] if {Flag.IMAGE_MISSING, Flag.TRUNCATED}.intersection(verdict.flags) else []
    facts = (*reasons.facts, *unseen, wording.blocked if blocked else wording.to_review)
    law = statement.legal_ground
    primary = post.language.split("-")[0] if post.language and names_language(post.language) else ""
    return StatementOfReasons(
        decision_visibility=("DECISION_VISIBILITY_CONTENT_DISABLED",) if blocked else (),
        decision_ground="DECISION_GROUND_ILLEGAL_CONTENT" if law else "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        decision_ground_reference_url=statement.reference_url,
        illegal_content_legal_ground=law,
        illegal_content_explanation=explanation if law else None,
        incompatible_content_ground=None if law else _cut(reasons.ground, MAX_GROUND),
        incompatible_content_explanation=None if law else explanation,
        category=category,
        category_addition=tuple(sorted(reasons.categories - {category})),
        content_type=reasons.content_type,
        content_language=primary.upper() if len(primary) == _ISO_639_1 else None,
        content_date=post.created_at.date().isoformat() if post.created_at else None,
        application_date=verdict.judged_at.date().isoformat() if blocked else None,
        territorial_scope=tuple(sorted(statement.territorial_scope)) or EEA,
        decision_facts=_cut(wording_of(language).between_sentences.join(facts), MAX_FACTS),
        automated_decision="AUTOMATED_DECISION_FULLY" if blocked else "AUTOMATED_DECISION_PARTIALLY",
        puid=verdict.verdict_id,
        redress=redress or wording.redress,
    )


def place_in_words(policy: PolicyVerdict, language: Language) -> str | None:
    """Where the violation of a violated policy lies, in words; None where that was not measured."""
    return wording_of(language).places[policy.attribution.class_] if policy.attribution else None


def _by_policies(
    violated: Sequence[PolicyVerdict], verdict: Verdict, policies: Mapping[str, Policy], language: Language
) -> _Reasons:
    wording, gravest, own = wording_of(language).statement, violated[0], policies[violated[0].policy_id]
    place = place_in_words(gravest, language) or wording.without_views
    facts = (
        wording.fact.format(
            title=policies[policy.policy_id].title.in_language(language),
            version=policy.version,
            place=place_in_words(policy, language) or wording.violated,
        )
        for policy in violated
    )
    return _Reasons(
        own,
        wording.ground.format(title=own.title.in_language(language), id=own.id, version=gravest.version),
        wording.explanation.format(question=own.question.in_language(language), place=place),
        (wording.judged, *facts),
        _content_type(violated, verdict),
        frozenset(chain.from_iterable(policies[policy.policy_id].dsa_categories for policy in violated)),
    )


def _by_bank(match: BankMatch, policies: Mapping[str, Policy], language: Language) -> _Reasons:
    wording, own = wording_of(language).statement, policies.get(match.policy or "")
    content_type = (_CONTENT_TYPES["text" if match.image is None else "image"],)
    if own is None:
        return _Reasons(None, wording.known_ground, wording.compared, (wording.compared,), content_type)
    title = own.title.in_language(language)
    return _Reasons(
        own,
        wording.ground.format(title=title, id=own.id, version=own.version),
        wording.known_explanation.format(question=own.question.in_language(language)),
        (wording.compared, wording.fact.format(title=title, version=own.version, place=wording.known)),
        content_type,
        frozenset(own.dsa_categories),
    )


def _content_type(violated: Sequence[PolicyVerdict], verdict: Verdict) -> tuple[ContentType, ...]:
    """What the violations lie in; where that was not measured, all that was judged of the post."""
    if any(policy.attribution is None for policy in violated):
        judged = verdict.content.modalities
        return tuple(kind for modality, kind in _CONTENT_TYPES.items() if modality in judged)
    found = {policy.attribution.class_.only_modality for policy in violated if policy.attribution}
    return tuple(kind for modality, kind in _CONTENT_TYPES.items() if found == {modality}) or _BOTH


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
