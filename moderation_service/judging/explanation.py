"""A sentence for each flagged policy, from what was measured. It can't change a decision."""

from collections.abc import Iterable, Mapping

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import AttributionClass, PolicyVerdict

_SENTENCES: dict[Language, dict[AttributionClass, str]] = {
    "en": {
        "combined": "only the picture and the words together violate it",
        "text_only": "the words alone violate it",
        "image_only": "the picture alone violates it",
        "either": "the words and the picture each violate it",
    },
    "zh": {
        "combined": "图片与文字结合才构成违规",
        "text_only": "仅文字即构成违规",
        "image_only": "仅图片即构成违规",
        "either": "文字与图片各自均构成违规",
    },
}
_VIEWS: dict[Language, tuple[str, str, str]] = {
    "en": ("together", "words alone", "picture alone"),
    "zh": ("合并", "仅文字", "仅图片"),
}
_FORMS: dict[Language, tuple[str, str, str, str]] = {
    "en": ("{title}: {evidence} ({scores}).", "{title}: score {score:.2f}.", ", ", " "),
    "zh": ("{title}：{evidence}（{scores}）。", "{title}：得分 {score:.2f}。", "，", ""),
}


def explain(policies: Iterable[PolicyVerdict], titles: Mapping[str, str], language: Language) -> str | None:
    """Name each violated policy, where the violation lies, and the scores that show it; None if none is violated.

    `titles` are the policies' titles by id, in `language`.
    """
    sentences = [_sentence(policy, titles[policy.policy_id], language) for policy in policies if policy.violated]
    return _FORMS[language][3].join(sentences) or None


def _sentence(policy: PolicyVerdict, title: str, language: Language) -> str:
    measured, unmeasured, comma, _ = _FORMS[language]
    if policy.attribution is None:
        return unmeasured.format(title=title, score=policy.score)
    attribution = policy.attribution
    values = (attribution.joint, attribution.text_only, attribution.image_only)
    named = zip(_VIEWS[language], values, strict=True)
    scores = comma.join(f"{name} {value:.2f}" for name, value in named if value is not None)
    return measured.format(title=title, evidence=_SENTENCES[language][attribution.class_], scores=scores)
