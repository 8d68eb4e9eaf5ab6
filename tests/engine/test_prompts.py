"""The pieces of a prompt, by language."""

import pytest

from moderation_service.contracts.engine_input import Question, Questionnaire
from moderation_service.engine import prompts
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.prompts import ChatFrame, Labels, Prompts, explanation_suffix
from moderation_service.languages.wordings import wording_of

FRAME = ChatFrame("<user>", "<system>", "<user>", "<image>", "<close>")
PROMPTS = Prompts(FRAME, LAYOUTS["post_first"], "full")


def asked_in(language: str) -> str:
    """The whole prompt of one question, without a post."""
    questionnaire = Questionnaire(language, (Question("weapon_sale", "?", "definition"),))
    return PROMPTS.prefix(questionnaire) + PROMPTS.suffixes(questionnaire)[0]


@pytest.mark.parametrize(
    ("language", "ends"),
    [
        ("en", "Answer yes or no.<close>"),
        ("de", "Antworte yes oder no.<close>"),
        ("de-AT", "Antworte yes oder no.<close>"),
        ("zh", "只回答“是”或“否”。<close>"),
        ("zh-Hant", "只回答“是”或“否”。<close>"),
        ("fr", "Answer yes or no.<close>"),
    ],
)
def test_a_prompt_is_in_the_language_of_its_policies(language: str, ends: str) -> None:
    """Where there are no sentences in it, in English; the answer words that are not there are the English ones."""
    assert asked_in(language).endswith(ends)


def test_a_language_whose_answer_words_are_set_is_asked_for_them() -> None:
    labels = Labels.of(["yes/no", "Ja/Nein", "是/否"])
    assert labels.asked_in("de") == ("Ja", "Nein")
    assert [labels.asked_in(language)[0] for language in ("en", "es", "zh-Hans")] == ["yes", "yes", "是"]
    assert Labels.of(["unsafe/safe"]).asked_in("de") == ("unsafe", "safe")


def test_the_prompt_digest_covers_english_and_chinese_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrations are bound to it; the sentences of further languages are in the policies' digests."""

    def digest_with_other(changed: str) -> str:
        prompt = wording_of(changed).prompt.model_copy(update={"instruction": "Judge.\n"})
        other = wording_of(changed).model_copy(update={"prompt": prompt})
        monkeypatch.setattr(prompts, "wording_of", lambda tag: other if tag == changed else wording_of(tag))
        return PROMPTS.digest

    digest = PROMPTS.digest
    assert [digest_with_other(tag) == digest for tag in ("de", "es", "en", "zh")] == [True, True, False, False]


def test_an_explanation_is_asked_for_in_the_language() -> None:
    assert "auf Deutsch" in explanation_suffix("de", ["Verkauf von Waffen"])
    assert "en español" in explanation_suffix("es-MX", ["Venta de armas"])
