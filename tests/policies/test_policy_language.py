"""In which language a post is judged."""

from typing import Literal

import pytest

from moderation_service.policies.language import language_of


@pytest.mark.parametrize("setting", ["en", "zh"])
def test_a_fixed_setting_goes_before_the_post(setting: Literal["en", "zh"]) -> None:
    """The owner's word is last."""
    assert language_of(setting, "zh", "你好") == setting
    assert language_of(setting, "en", "hello") == setting


@pytest.mark.parametrize(
    ("tag", "language"),
    [("zh", "zh"), ("zh-CN", "zh"), ("ZH-Hant-TW", "zh"), ("yue", "zh"), ("en", "en"), ("de-CH", "en"), ("zha", "en")],
)
def test_the_posts_tag_goes_before_its_script(tag: str, language: str) -> None:
    """A tag of Chinese, in any form, is zh; every other is en (zha is Zhuang)."""
    assert language_of("auto", tag, "hello") == language
    assert language_of("auto", tag, "你好") == language


@pytest.mark.parametrize("tag", [None, "und", "mul"])
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hello", "en"),
        ("九成新，价格私聊", "zh"),
        ("iPhone 九成新", "zh"),
        ("新品未使用、送料無料です", "en"),
        ("東京タワー", "en"),
        ("ﾃｽﾄ投稿", "en"),
        ("优の良品，九成新，价格私聊", "zh"),
        ("abcdefg一二三", "zh"),
        ("abcdefgh一二三", "en"),
        ("𠀀𠀁", "zh"),
        ("Привет", "en"),
        ("123 !?", "en"),
        ("🔫💰", "en"),
        ("", "en"),
    ],
)
def test_without_a_tag_the_script_tells(tag: str | None, text: str, language: str) -> None:
    """Three Han letters of ten are enough, signs and digits do not count."""
    assert language_of("auto", tag, text) == language


def test_only_the_start_of_a_long_text_is_read() -> None:
    """The time is bounded whatever the post's length."""
    assert language_of("auto", None, "a" * 5000 + "中" * 10_000_000) == "en"
