"""Message catalogues by themselves: which language a browser gets, and files that are none."""

from pathlib import Path

import pytest
from babel import UnknownLocaleError
from babel.messages.pofile import PoFileError

from moderation_service.console.catalogues import negotiate, read_catalogues


def catalogues_in(folder: Path, *names: str, text: str = 'msgid "Queue"\nmsgstr "{name}"\n') -> Path:
    for name in names:
        file = folder / name / "LC_MESSAGES" / "messages.po"
        file.parent.mkdir(parents=True)
        file.write_text(text.format(name=name), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("accepted", "tag"),
    [
        ("", "en"),
        ("*", "en"),
        ("fr-FR, fr;q=0.9", "en"),
        ("en-US, zh;q=0.5", "en"),
        ("de-AT", "de"),
        ("DE-at", "de"),
        ("zh", "zh"),
        ("zh-CN, en;q=0.5", "zh"),
        ("zh-Hans-SG", "zh"),
        ("zh-TW", "zh-Hant"),
        ("zh-Hant", "zh-Hant"),
        ("zh-HK, zh;q=0.9", "zh-Hant"),
        ("pt", "pt-BR"),
        ("pt-BR, pt;q=0.9", "pt-BR"),
        ("de;q=0.3, zh; q=0.7", "zh"),
        ("de;q=0, zh;q=0.1", "zh"),
        ("de;q=much, zh;q=0.1", "zh"),
        ("-, ;q=1, 中文, x-y-z-1, de", "de"),
        (",".join(["fr"] * 100_000), "en"),
    ],
)
def test_a_browser_gets_the_language_that_it_likes_best_of_those_there(tmp_path: Path, accepted: str, tag: str) -> None:
    found = read_catalogues(catalogues_in(tmp_path, "de", "pt_BR", "zh", "zh_Hant"))
    assert list(found) == ["en", "de", "pt-BR", "zh", "zh-Hant"]
    assert negotiate(found, accepted).tag == tag


def test_traditional_chinese_falls_to_chinese_where_that_is_all_there_is(tmp_path: Path) -> None:
    assert negotiate(read_catalogues(catalogues_in(tmp_path, "zh")), "zh-TW").tag == "zh"


def test_languages_are_named_by_themselves_and_by_each_other(tmp_path: Path) -> None:
    found = read_catalogues(catalogues_in(tmp_path, "ar", "es", "zh"))
    named = [(one.name, one.direction) for one in found.values()]
    assert named == [("English", "ltr"), ("العربية", "rtl"), ("Español", "ltr"), ("中文", "ltr")]
    tags = ("zh", "zh-Hant", "de-AT", "tlh-x", "", "x" * 100_000)
    assert list(map(found["en"].language_name, tags[:3])) == [
        "Chinese",
        "Chinese (Traditional)",
        "German (Austria)",
    ]
    assert [found["es"].language_name(tag) for tag in tags[3:]] == list(tags[3:])


def test_a_folder_or_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownLocaleError, match="xq"):
        read_catalogues(catalogues_in(tmp_path / "folder", "xq"))
    with pytest.raises(PoFileError, match=r"keyword(.|\n)*in .*de/LC_MESSAGES/messages.po"):
        read_catalogues(catalogues_in(tmp_path / "file", "de", text='msgid "Queue"\nmsgstr "Reihe"\nmsgfoo "x"\n'))
    header = 'msgid ""\nmsgstr ""\n"Plural-Forms: nplurals=2; plural=(n != ;\\n"\n'
    with pytest.raises(ValueError, match=r"plural form(.|\n)*in .*es/LC_MESSAGES/messages.po"):
        read_catalogues(catalogues_in(tmp_path / "plural", "es", text=header))
