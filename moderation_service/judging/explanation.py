"""The explanation by template: what was measured, a sentence for each flagged policy. It can't change a decision."""

from collections.abc import Iterable, Mapping

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import AbstainReason, AttributionClass, PolicyVerdict

_SENTENCES: dict[Language, dict[AttributionClass, str]] = {
    "en": {
        "combined": "only the picture and the words together violate it",
        "text_only": "the words alone violate it",
        "image_only": "the picture alone violates it",
        "either": "the words and the picture each violate it",
        "context_mitigated": "the words or the picture alone would be blocked, and both together do not violate it",
    },
    "zh": {
        "combined": "图片与文字结合才构成违规",
        "text_only": "仅文字即构成违规",
        "image_only": "仅图片即构成违规",
        "either": "文字与图片各自均构成违规",
        "context_mitigated": "文字或图片单独看应被拦截，两者结合则不构成违规",
    },
}
_VIEWS: dict[Language, tuple[str, str, str]] = {
    "en": ("together", "words alone", "picture alone"),
    "zh": ("合并", "仅文字", "仅图片"),
}
_FORMS: dict[Language, tuple[str, str, str, str]] = {
    "en": ("{place} ({scores})", "score {score:.2f}", ", ", "{title}: {measured}."),
    "zh": ("{place}（{scores}）", "得分 {score:.2f}", "，", "{title}：{measured}。"),
}
_UNSEEN: dict[Language, dict[AbstainReason, str]] = {
    "en": {
        "image_unavailable": "Not all was judged: a picture could not be had.",
        "image_undecodable": "Not all was judged: a picture could not be decoded.",
        "image_skipped": "Not all was judged: there are more pictures than are read of a post.",
        "truncated": "Not all was judged: there are more words than are read of a post.",
        "label_mass_low": "The model gave no clear answer.",
    },
    "zh": {
        "image_unavailable": "未能完整判断：有图片无法获取。",
        "image_undecodable": "未能完整判断：有图片无法解码。",
        "image_skipped": "未能完整判断：图片超出读取上限。",
        "truncated": "未能完整判断：文字超出读取上限。",
        "label_mass_low": "模型没有给出明确答案。",
    },
}


def explain(policies: Iterable[PolicyVerdict], titles: Mapping[str, str], language: Language) -> str | None:
    """Name each policy that flags, where the violation lies, and the scores that show it; None if none flags.

    `titles` are the policies' titles by id, in `language`.
    """
    form = _FORMS[language][3]
    sentences = (
        form.format(title=titles[policy.policy_id], measured=measured(policy, language))
        for policy in policies
        if policy.outcome != "allow"
    )
    return ("" if language == "zh" else " ").join(sentences) or None


def cannot_tell_why(reason: AbstainReason, language: Language) -> str:
    """Why an `allow` would be a guess, in a sentence."""
    return _UNSEEN[language][reason]


def place(policy: PolicyVerdict, language: Language) -> str | None:
    """Where the violation of a violated policy lies, in words; None where that was not measured."""
    return _SENTENCES[language][policy.attribution.class_] if policy.attribution else None


def measured(policy: PolicyVerdict, language: Language) -> str:
    """Where the violation of a violated policy lies, with the scores that show it; the score alone without views."""
    whole, unmeasured, comma, _ = _FORMS[language]
    attribution = policy.attribution
    if attribution is None:
        return unmeasured.format(score=policy.score)
    values = (attribution.joint, attribution.text_only, attribution.image_only)
    named = zip(_VIEWS[language], values, strict=True)
    scores = comma.join(f"{name} {value:.2f}" for name, value in named if value is not None)
    return whole.format(place=place(policy, language), scores=scores)
