"""In which language a post is judged."""

import pytest

from moderation_service.policies.language import language_of
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.policies.texts import Texts
from moderation_service.settings.sections import shipped_policies


def pack_in(*languages: str, default: str | None = None) -> PolicyPack:
    """A pack of one policy in these languages."""
    policy = next(iter(load_pack(shipped_policies(), images=False).policies))
    words = {"question": "?", "title": "t", "definition": "d"}
    texts = {name: Texts(dict.fromkeys(languages, word)) for name, word in words.items()}
    return PolicyPack((policy.model_copy(update=texts),), default)


EN_ZH = pack_in("en", "zh")


def judged(tag: str | None, text: str, pack: PolicyPack = EN_ZH, setting: str = "auto") -> str:
    """The language a post is judged in."""
    return language_of(setting, tag, text, pack).judged


@pytest.mark.parametrize("setting", ["en", "zh"])
def test_a_fixed_setting_goes_before_the_post(setting: str) -> None:
    """The owner's word is last."""
    assert judged("zh", "你好", setting=setting) == setting
    assert judged("en", "hello", setting=setting) == setting


@pytest.mark.parametrize(
    ("tag", "language"),
    [("zh", "zh"), ("zh-CN", "zh"), ("ZH-Hant-TW", "zh"), ("yue", "zh"), ("en", "en"), ("de-CH", "en"), ("zha", "en")],
)
def test_the_posts_tag_goes_before_its_script(tag: str, language: str) -> None:
    """A tag of Chinese, in any form, is zh; one of no language of the pack is the default (zha is Zhuang)."""
    assert judged(tag, "hello") == language
    assert judged(tag, "你好") == language
    assert language_of("auto", tag, "你好", EN_ZH).detected is None


@pytest.mark.parametrize("tag", [None, "und", "mul", "cn", "jp"])
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
def test_without_a_tag_the_script_tells_chinese(tag: str | None, text: str, language: str) -> None:
    """Three Han letters of ten are enough, signs and digits do not count."""
    assert judged(tag, text) == language


def test_only_the_start_of_a_long_text_is_read() -> None:
    """The time is bounded whatever the post's length."""
    assert judged(None, "a" * 5000 + "中" * 10_000_000) == "en"


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("yue", "zh-Hant"),
        ("de-AT", "de"),
        ("pt", "pt-BR"),
        ("nb", "no"),
        ("fr", "de"),
        ("en-GB-u-hc-h12", "en"),
        ("x-klingon", "de"),
    ],
)
def test_a_tag_is_looked_up_among_the_languages_of_the_pack(tag: str, language: str) -> None:
    """By its parents, its likely script, then its language; else the pack's default judges."""
    pack = pack_in("de", "en", "no", "pt-BR", "zh-Hans", "zh-Hant", default="de")
    assert judged(tag, "", pack) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wer will mein Fahrrad kaufen? Preis per Nachricht", "de"),
        ("Vendo pistola, precio por privado", "es"),
        ("Lightly used, DM me for the price", "en"),
        ("二手九成新，价格私聊", "zh-Hans"),
        ("二手九成新，價格私訊", "zh-Hant"),
        ("今日は良い天気ですね", "ja"),
        ("오늘 날씨가 좋네요", "ko"),
        ("Куплю велосипед недорого, пишите в личные сообщения", "es"),
    ],
)
def test_without_a_tag_the_words_tell(text: str, language: str) -> None:
    """A text in no language of the pack is judged in its default."""
    assert judged(None, text, pack_in("de", "en", "es", "ja", "ko", "zh-Hans", "zh-Hant", default="es")) == language


def test_a_verdict_can_say_which_language_was_found_though_the_pack_lacks_it() -> None:
    assert language_of("auto", None, "오늘 날씨가 좋네요", EN_ZH) == ("en", "ko", "en")


def test_the_language_is_that_of_the_whole_pack() -> None:
    """One policy alone in a further language would leave a post half judged."""
    further, english = (*pack_in("de", "en").policies, *pack_in("en").policies)
    pack = PolicyPack((further, english.model_copy(update={"id": "other"})))
    assert pack.languages == ("en",)
    assert judged("de", "Guten Tag", pack) == "en"
