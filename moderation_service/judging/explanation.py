"""A sentence for each flagged policy, from what was measured. It can't change a decision."""

from collections.abc import Iterable, Mapping

from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import Attribution, AttributionClass, PolicyVerdict

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
_SCORES: dict[Language, tuple[str, str, str]] = {
    "en": ("together", "words alone", "picture alone"),
    "zh": ("合并", "仅文字", "仅图片"),
}


def explain(policies: Iterable[PolicyVerdict], titles: Mapping[str, str], language: Language) -> str | None:
    """Name each violated policy, where the violation lies, and the scores that show it; None if none is violated.

    `titles` are the policies' titles by id, in `language`.
    """
    sentences = [_sentence(policy, titles[policy.policy_id], language) for policy in policies if policy.violated]
    if not sentences:
        return None
    return (" " if language == "en" else "").join(sentences)


def _sentence(policy: PolicyVerdict, title: str, language: Language) -> str:
    colon, stop = (": ", ".") if language == "en" else ("：", "。")
    if policy.attribution is None:
        return f"{title}{colon}{policy.score:.2f}{stop}"
    evidence = _SENTENCES[language].get(policy.attribution.class_)
    scores = _scores(policy.attribution, language)
    return f"{title}{colon}{evidence} ({scores}){stop}" if evidence else f"{title}{colon}{scores}{stop}"


def _scores(attribution: Attribution, language: Language) -> str:
    values = (attribution.joint, attribution.text_only, attribution.image_only)
    named = zip(_SCORES[language], values, strict=True)
    return ", ".join(f"{name} {value:.2f}" for name, value in named if value is not None)
