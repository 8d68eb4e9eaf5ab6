"""The sentences that the machine writes, one file a language."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from moderation_service.contracts.bank import EntryKind
from moderation_service.contracts.enums import AbstainReason, AttributionClass
from moderation_service.languages import wordings
from moderation_service.languages.wordings import wording_languages, wording_of


def sentences(part: dict[str, Any], path: str = "") -> dict[str, str]:
    """Each sentence of a file by its place there, but for the answer word, which English goes without."""
    found: dict[str, str] = {}
    for name, value in part.items():
        place = f"{path}.{name}".removeprefix(".")
        found |= sentences(value, place) if isinstance(value, dict) else {place: str(value)}
    return {place: value for place, value in found.items() if place != "prompt.answer_word"}


def of_file(language: str) -> dict[str, str]:
    folder = Path(wordings.__file__).parent / "sentences"
    return sentences(yaml.safe_load((folder / f"{language}.yaml").read_text(encoding="utf-8")))


def test_four_languages_are_complete() -> None:
    assert {"en", "zh", "de", "es"} <= set(wording_languages())
    for language in ("zh", "de", "es"):
        assert of_file(language).keys() == of_file("en").keys(), language


@pytest.mark.parametrize("language", wording_languages())
def test_a_sentence_is_filled_with_the_same_values_in_each_language(language: str) -> None:
    english = of_file("en")
    for place, sentence in of_file(language).items():
        named = [sorted(re.findall(r"{[^}]*}", words)) for words in (sentence, english[place])]
        assert named[0] == named[1], place


def test_each_word_of_a_closed_set_has_its_sentence() -> None:
    english = wording_of("en")
    assert english.explanation.abstentions.keys() == set(AbstainReason)
    assert english.places.keys() == set(AttributionClass) - {AttributionClass.NONE}
    assert english.known_content.keys() == {*get_args(EntryKind), "routed"}


def test_a_language_without_a_file_has_the_sentences_of_its_parent_else_the_english_ones() -> None:
    assert [wording_of(tag).language for tag in ("de-AT", "zh-Hant", "es-419", "fr")] == ["de", "zh", "es", "en"]


def test_a_new_file_is_a_new_language_and_may_leave_sentences_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(wordings.__file__).parent / "sentences"
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "de-AT.yaml").write_text("explanation: {joint: miteinander}\n", encoding="utf-8")
    (tmp_path / "fr.yaml").write_text("explanation: {joint: ensemble}\n", encoding="utf-8")
    monkeypatch.setattr(wordings, "_FOLDER", tmp_path)
    wording_of.cache_clear()
    wording_languages.cache_clear()
    try:
        austrian, french = wording_of("de-AT"), wording_of("fr-CA")
        assert (austrian.explanation.joint, austrian.explanation.text_only) == ("miteinander", "nur Worte")
        assert (french.explanation.joint, french.explanation.text_only) == ("ensemble", "words alone")
    finally:
        wording_of.cache_clear()
        wording_languages.cache_clear()
