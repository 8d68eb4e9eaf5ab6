"""Both languages say everything."""

import re

import pytest

from moderation_service.console import middleware
from moderation_service.console.accounts import login as accounts
from moderation_service.console.pages import audits, banks, child_safety, policies, render, tryout, verdict, words
from moderation_service.console.pages.render import HERE, environment, translated
from moderation_service.console.store import bank_entries

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACE = re.compile(r"%\(\w+\)s|%%")


def said() -> set[str]:
    """All that templates and answers say, in English."""
    found = set(words.ATTRIBUTION.values()) | set(words._ALONE.values())
    found.update(*(told.values() for told in words.TITLES.values()))
    found |= {accounts.WRONG, accounts.TOO_MANY, accounts.BUSY, policies._NO_IMAGES, policies._NOT_RUN}
    found |= {tryout._NOTHING, tryout._LARGE, *tryout._WHY_NOT.values()}
    found |= {banks.REASON_WANTED, banks.WRONG_DATE, *bank_entries.REFUSED.values()}
    found |= {verdict._REASON_WANTED, verdict.TOO_LONG, *verdict.REFUSED.values()}
    found |= {audits.MARK_ONE, audits.MARKED}
    found |= {child_safety._NO_HOLD, child_safety._NOT_HELD, child_safety._ID_WANTED}
    found.update(*middleware.ERROR_TEXTS.values(), middleware.OTHER_ERROR)
    for file in (HERE / "templates").glob("*.html"):
        for _, _, message in environment("en").extract_translations(file.read_text(encoding="utf-8")):
            one = message[0] if isinstance(message, tuple) else message
            if one is not None:
                found.add(one)
    return found


@pytest.mark.parametrize("message", sorted(said()))
def test_each_sentence_has_a_chinese_one_with_the_same_places(message: str) -> None:
    chinese = translated("zh")(message)
    assert CHINESE.search(chinese), "not translated"
    assert sorted(PLACE.findall(chinese)) == sorted(PLACE.findall(message))


def test_no_translation_is_left_over() -> None:
    assert set(render._CHINESE) == said()


def test_no_template_has_words_that_are_not_translated() -> None:
    between = re.compile(r">([^<>{}]*[A-Za-z]{3,}[^<>{}]*)<")
    names = {"English", "中文", "reviews.jsonl", "verdicts.jsonl", "j", "k"}
    names.add("moderation calibrate reviews.jsonl --verdicts verdicts.jsonl -o calibration.json")
    for file in (HERE / "templates").glob("*.html"):
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "{", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert {one.strip() for one in between.findall(text)} <= names | {"Enter"}, file.name
