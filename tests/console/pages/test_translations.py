"""Every language says everything, and a language is a file."""

import re
from pathlib import Path

import aiohttp
import pytest
from babel import Locale
from babel.messages.catalog import Catalog

from moderation_service.console.catalogues import FOLDER, read_catalogues, read_file
from moderation_service.console.context import ConsoleContext
from moderation_service.console.pages.render import HERE
from scripts import messages
from tests.console.support import served

PLACE = re.compile(r"%\(\w+\)s|%%")
FILES = {file.parents[1].name: file for file in FOLDER.glob("*/LC_MESSAGES/messages.po")}


@pytest.fixture(scope="module")
def template() -> Catalog:
    """All that templates and code say, in English."""
    return messages.collected()


def test_the_template_has_every_message(template: Catalog) -> None:
    assert messages.TEMPLATE.read_text(encoding="utf-8") == messages.written(template), "run: make messages"


@pytest.mark.parametrize("language", FILES)
def test_a_catalogue_has_every_message_and_no_other(language: str, template: Catalog) -> None:
    text = FILES[language].read_text(encoding="utf-8")
    assert text == messages.updated(read_file(FILES[language]), template), "run: make messages"


@pytest.mark.parametrize("language", FILES)
def test_each_message_is_translated_with_the_same_places_and_all_plural_forms(language: str) -> None:
    catalog = read_file(FILES[language])
    for message in catalog:
        english, *_ = reversed(message.id) if isinstance(message.id, tuple) else [message.id]
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        if not english:  # the header
            continue
        assert not message.fuzzy, english
        assert all(forms), f"not translated: {english}"
        assert not list(message.check(catalog)), english
        assert all(sorted(PLACE.findall(form)) == sorted(PLACE.findall(english)) for form in forms), english


def test_no_template_has_words_that_are_not_translated() -> None:
    between = re.compile(r">([^<>{}]*[A-Za-z]{3,}[^<>{}]*)<")
    names = {"reviews.jsonl", "verdicts.jsonl", "j", "k"}
    names.add("moderation calibrate reviews.jsonl --verdicts verdicts.jsonl -o calibration.json")
    for file in (HERE / "templates").glob("*.html"):
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "{", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert {one.strip() for one in between.findall(text)} <= names | {"Enter"}, file.name


async def test_a_file_is_a_language_of_the_pages(context: ConsoleContext, tmp_path: Path, template: Catalog) -> None:
    arabic = Catalog(Locale("ar"))
    arabic.add("Log in", "تسجيل الدخول")
    file = tmp_path / "ar" / "LC_MESSAGES" / "messages.po"
    file.parent.mkdir(parents=True)
    file.write_text(messages.updated(arabic, template), encoding="utf-8")
    context.catalogues = read_catalogues(tmp_path)
    async with served(context) as address, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(f"{address}/login", headers={"Accept-Language": "ar-EG, en;q=0.5"}) as answer:
            asked = await answer.text()
        async with http.get(f"{address}/preferences?language=ar&next=/login") as answer:
            chosen = await answer.text()
    for page in (asked, chosen):
        assert '<html lang="ar" dir="rtl"' in page
        assert "تسجيل الدخول" in page
        assert re.findall('lang="(..)" dir="...".*?>([^<]+)</a>', page) == [("en", "English"), ("ar", "العربية")]
        assert "Password" in page, "English where nothing is said in the language"
