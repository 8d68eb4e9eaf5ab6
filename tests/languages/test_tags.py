"""Language tags."""

import pytest

from moderation_service.languages.tags import canonical_tag, names_language, nearest_tag, primary_language


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("DE", "de"),
        ("zh-tw", "zh-TW"),
        ("ZH-hANT-hk", "zh-Hant-HK"),
        ("iw", "he"),
        ("cmn-hans", "zh-Hans"),
        ("sh", "sr-Latn"),
        ("prs", "fa-AF"),
        ("prs-TJ", "fa-TJ"),
        ("es-419", "es-419"),
        ("sl-Rozaj-1994", "sl-rozaj-1994"),
    ],
)
def test_a_tag_has_one_canonical_form(tag: str, canonical: str) -> None:
    assert canonical_tag(tag) == canonical
    assert canonical_tag(canonical) == canonical


@pytest.mark.parametrize("tag", ["", "german", "d", "de_DE", "en-a-bcd", "x-own", "de-", "zh-Hans-Hant", "中文"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is no language tag"):
        canonical_tag(tag)


@pytest.mark.parametrize(("tag", "language"), [("yue-HK", "zh"), ("nb", "no"), ("pt-BR", "pt"), ("iw", "he")])
def test_a_language_of_a_macrolanguage_is_found_by_it(tag: str, language: str) -> None:
    assert primary_language(tag) == language


@pytest.mark.parametrize(
    ("wanted", "available", "nearest"),
    [
        ("de-AT-1996", ("de", "de-AT"), "de-AT"),
        ("de-CH", ("en", "de"), "de"),
        ("pt", ("pt-BR", "pt-PT"), "pt-BR"),
        ("zh", ("zh-Hant", "zh-Hans"), "zh-Hans"),
        ("zh-MO", ("zh-Hans", "zh-Hant"), "zh-Hant"),
        ("zh-HK", ("zh", "zh-TW"), "zh-TW"),
        ("zh-HK", ("en", "zh"), "zh"),
        ("sr-Latn", ("sr", "sr-Latn"), "sr-Latn"),
        ("zh-Hans", ("zh", "zh-Hans"), "zh-Hans"),
        ("ZH-hans", ("zh", "zh-Hans"), "zh-Hans"),
        ("de-DE-u-co-phonebk", ("en", "de"), "de"),
        ("zh-Hant-x-own", ("zh-Hans", "zh-Hant"), "zh-Hant"),
        ("zh-yue", ("zh-Hans",), "zh-Hans"),
        ("en-USA", ("de", "en"), "en"),
        ("german", ("de",), None),
        ("de_DE", ("de",), None),
        ("fr", ("en", "de"), None),
        ("zha", ("zh",), None),
        ("not a tag", ("en",), None),
        (None, ("en",), None),
    ],
)
def test_the_nearest_tag_has_the_same_language_and_if_it_can_the_same_script(
    wanted: str | None, available: tuple[str, ...], nearest: str | None
) -> None:
    assert nearest_tag(wanted, available) == nearest


@pytest.mark.parametrize("tag", ["de", "DE-at", "zh-yue", "cmn", "no", "sh", "haw", "de-x-own"])
def test_a_tag_names_a_language(tag: str) -> None:
    assert names_language(tag)


@pytest.mark.parametrize("tag", ["cn", "jp-JP", "zz", "und", "und-Latn", "mul", "german", ""])
def test_a_tag_of_a_country_or_of_nothing_names_no_language(tag: str) -> None:
    assert not names_language(tag)
