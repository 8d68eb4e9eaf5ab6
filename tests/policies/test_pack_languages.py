"""The languages of a pack, and `pack.yaml`."""

import asyncio
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.languages.wordings import wording_of
from moderation_service.policies import model
from moderation_service.policies.pack import PATH, PolicyPack, load_pack
from moderation_service.policies.watch import next_change
from tests.policies.conftest import RIGHT
from tests.policies.german import german_pack

DE_FR = {"fr": "Dis-moi:"}


def refusal(folder: Path) -> str:
    """Why the folder is refused, without the folder's own path."""
    with pytest.raises(Misconfigured) as refused:
        load_pack(folder)
    return str(refused.value).replace(f"{folder}/", "").replace(str(folder), "FOLDER")


def test_a_pack_in_german_alone_is_a_pack(tmp_path: Path) -> None:
    pack = load_pack(german_pack(tmp_path / "pack"))
    assert (pack.languages, pack.default_language) == (("de",), "de")
    assert pack.questionnaire("en", model.Mode.ENFORCE) is pack.questionnaire("de", model.Mode.ENFORCE)


def test_policies_that_share_no_language_are_no_pack(tmp_path: Path) -> None:
    folder = german_pack(tmp_path / "pack")
    (folder / "doxxing.yaml").write_text(RIGHT.replace("weapon_sale", "doxxing").split("cases:")[0], encoding="utf-8")
    assert refusal(folder) == (
        "FOLDER: title: no language is in all policies (doxxing is in en, zh; weapon_sale is in de);"
        " should be, with question and definition, in one language at least that all have"
    )


def test_several_languages_without_english_need_a_default(tmp_path: Path) -> None:
    folder = german_pack(tmp_path / "pack", **DE_FR)
    assert refusal(folder) == "pack.yaml: default_language: is missing; should be one of de, fr"
    (folder / "pack.yaml").write_text("default_language: fr\n", encoding="utf-8")
    pack = load_pack(folder)
    assert (pack.languages, pack.language_for("en"), pack.language_for("de-AT")) == (("de", "fr"), "fr", "de")


def test_norwegian_needs_no_quotes(tmp_path: Path) -> None:
    """YAML takes `no` for false."""
    folder = german_pack(tmp_path / "pack", no="Si:")
    (folder / "pack.yaml").write_text("default_language: no\n", encoding="utf-8")
    assert load_pack(folder).default_language == "no"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "default_language: en",
            "1: default_language: 'en' is not a language of all policies; should be one of de, fr",
        ),
        ("default_language: 1", "1: default_language: 1 is not a language of all policies; should be one of de, fr"),
        ("default_language: [de]", "1: default_language: ('de',) is not a language of all policies;"),
        ("language: de", "1: language: is not a field of a pack; known here are default_language and not_covered"),
        ("de", "1: file:"),
    ],
)
def test_a_wrong_file_of_the_pack_is_refused_with_line_and_field(tmp_path: Path, written: str, says: str) -> None:
    folder = german_pack(tmp_path / "pack", **DE_FR)
    (folder / "pack.yaml").write_text(written, encoding="utf-8")
    assert refusal(folder).startswith(f"pack.yaml:{says}")


def test_the_default_is_part_of_the_packs_digest_where_it_is_said(tmp_path: Path) -> None:
    """It decides in which language a post of a further one is judged."""
    folder = german_pack(tmp_path / "pack", en="Say:")
    implied = load_pack(folder)
    assert implied.default_language == "en"
    (folder / "pack.yaml").write_text("default_language: en", encoding="utf-8")
    assert load_pack(folder).digest == implied.digest
    (folder / "pack.yaml").write_text("default_language: de", encoding="utf-8")
    assert load_pack(folder).digest != implied.digest


async def test_a_changed_default_is_seen_as_a_change_of_the_pack(tmp_path: Path) -> None:
    folder = german_pack(tmp_path / "pack", en="Say:")
    known, _ = await next_change(folder, None, 0.01, PATH)
    waiting = asyncio.create_task(next_change(folder, known, 0.01, PATH))
    (folder / "pack.yaml").write_text("default_language: de", encoding="utf-8")
    _, found = await waiting
    assert isinstance(found, PolicyPack)
    assert found.default_language == "de"


def test_the_prompts_sentences_in_a_further_language_are_part_of_a_policys_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt's own digest covers English and Chinese, whose policies keep their digests."""
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "weapon_sale.yaml").write_text(RIGHT, encoding="utf-8")
    folders = (tmp_path / "old", german_pack(tmp_path / "new"))
    before = [load_pack(folder, images=False).digest for folder in folders]
    german = wording_of("de")
    other = german.model_copy(update={"prompt": german.prompt.model_copy(update={"answer": " Sag {yes} oder {no}."})})
    monkeypatch.setattr(model, "wording_of", lambda language: other if language == "de" else wording_of(language))
    after = [load_pack(folder, images=False).digest for folder in folders]
    assert after[0] == before[0]
    assert after[1] != before[1]
