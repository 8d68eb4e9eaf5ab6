"""The language of a text."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from moderation_service.languages.detection import is_written_in, language_of_text


@pytest.mark.parametrize(
    "text",
    [
        "新品未使用、送料無料です",
        "東京都庁前広場集合、明日正午",
        "拳銃販売、国内発送、価格交渉可",
        "今日は良い天気ですね",
        "佐々木氏発言全文",
        "ﾃｽﾄ投稿",
    ],
)
def test_japanese_is_japanese_even_where_nearly_all_of_it_is_han(text: str) -> None:
    assert language_of_text(text) == "ja"


@pytest.mark.parametrize("text", ["오늘 날씨가 좋네요", "권총 판매합니다", "大韓民國의 權銃 판매"])
def test_korean_is_korean_with_hanja_too(text: str) -> None:
    assert language_of_text(text) == "ko"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("我们明天在学校后面见面", "zh-Hans"),
        ("關於疫苗的真相，醫生不敢說", "zh-Hant"),
        ("二手九成新，價格私訊", "zh-Hant"),
        ("优の良品，九成新，价钱私聊", "zh-Hans"),
        ("同城面交", "zh"),
        ("BTS 방탄 新专辑九成新出售，同城面交", "zh-Hans"),
    ],
)
def test_traditional_is_told_from_simplified_chinese(text: str, language: str) -> None:
    """Where no letter shows it, the script stays open; a foreign word in a Chinese text changes nothing."""
    assert language_of_text(text) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Wer will mein Fahrrad kaufen? Preis per Nachricht", "de"),
        ("Vendo mi bicicleta casi nueva, precio por privado", "es"),
        ("Lightly used, DM me for the price", "en"),
        ("Je vends mon vélo, il est presque neuf", "fr"),
        ("أبيع دراجتي شبه الجديدة", "ar"),
    ],
)
def test_other_languages_are_told_by_their_words(text: str, language: str) -> None:
    assert language_of_text(text) == language


@pytest.mark.parametrize("text", ["", "123 !?", "🔫💰", "hi", "ok"])
def test_too_few_words_are_in_no_language(text: str) -> None:
    assert language_of_text(text) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("권총 판매합니다 https://example.com/market/weapons/offers?id=123456789", "ko"),
        ("二手九成新，價格私訊 @some_long_account_name www.example.com/offers/1", "zh-Hant"),
        ("Schau mal: https://example.com/buy-this-now-and-save-a-lot-of-money", "de"),
    ],
)
def test_links_and_names_of_accounts_are_in_no_language(text: str, language: str) -> None:
    assert language_of_text(text) == language


def test_of_languages_that_few_words_fit_the_expected_one_is_taken() -> None:
    text = "Vendo pistola, precio por privado"
    assert (language_of_text(text), language_of_text(text, ("en", "es"))) == ("pt", "es")


def test_many_threads_get_the_same_answer() -> None:
    texts = ["Wer will mein Fahrrad kaufen?", "Lightly used, DM me for the price", "我们明天见面"] * 20
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(language_of_text, texts)) == ["de", "en", "zh-Hans"] * 20


def test_an_answer_in_another_script_or_in_english_is_not_in_the_language() -> None:
    """What is in it by its script, and not rather English, passes."""
    english, german, chinese = "The picture shows a rifle.", "Das Bild zeigt ein Gewehr.", "图片展示了武器。"
    for text, language in ((german, "de"), (english, "en"), (chinese, "zh-Hant"), (english, "tlh")):
        assert is_written_in(text, language), language
    for text, language in ((english, "de"), (chinese, "en"), (english, "zh"), (chinese, "ja")):
        assert not is_written_in(text, language), language
