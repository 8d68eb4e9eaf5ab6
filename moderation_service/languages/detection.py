"""The language of a text: by its letters where these tell, as in East Asia, else by py3langid (naive Bayes, 97+)."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from moderation_service.languages.tags import UNTOLD, primary_language

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_READ = 4096  # characters; the start of a long text is enough to tell, and bounds the time
_READ_BY_MODEL = 1024
_LINK = re.compile(r"(?:https?://|www\.|@)[!-~]+")  # links, addresses and names of accounts: of no language
_HAN = re.compile("[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\U00020000-\\U000323af]")
_KANA = re.compile("[\\u3041-\\u30ff\\u31f0-\\u31ff\\uff66-\\uff9d\\u3005]")  # and the iteration mark
_JAPANESE_WORDS = re.compile("無料|送料|手数料|割引|配達|取扱|締切")  # of letters that Chinese has too
_HANGUL = re.compile("[\\u1100-\\u11ff\\u3130-\\u318f\\uac00-\\ud7a3]")
_EAST_ASIAN_SHARE = 0.3  # of the letters
_KANA_SHARE = 0.1  # of Han and kana: in Japanese far more is kana, in Chinese a letter now and then
_HANGUL_SHARE = 0.3  # of all three: in Korean far more is Hangul, in the others a name now and then
_EAST_ASIAN = frozenset({"zh", "ja", "ko"})
_EXPECTED = 3.0  # times as likely a priori is a language that is expected
_LEAST = 0.1  # probability: below it the words are too few
_CHINA, _TAIWAN, _JAPAN = "gb2312", "big5", "shift_jis"  # each has the Han letters of its country's school
_ONLY_JAPAN = frozenset({_JAPAN})
_LOADING = Lock()


def language_of_text(text: str, expected: Iterable[str] = ()) -> str | None:
    """The language of a text as a tag, None where it has too few words to tell.

    Chinese has its script, `zh-Hans` or `zh-Hant`, where a letter shows it. `expected` are tags that are likelier than
    others, for few words fit many languages.
    """
    words = _words(text)
    if not any(map(str.isalpha, words)):
        return None
    return east_asian_language(text) or _by_model(words, {primary_language(tag) for tag in expected})


def east_asian_language(text: str) -> str | None:
    """Chinese, Japanese or Korean where at least three of ten letters are theirs, else None.

    Few kana, or none, leave a Japanese text of Han: letters that only Japan's standard has, and words that only
    Japanese has, against letters that Japan's standard lacks, tell it from a Chinese one.
    """
    start = _words(text)
    han, kana, hangul = _HAN.findall(start), len(_KANA.findall(start)), len(_HANGUL.findall(start))
    found = len(han) + kana + hangul
    if not found or found < _EAST_ASIAN_SHARE * sum(map(str.isalpha, start)):
        return None
    if hangul > _HANGUL_SHARE * found:
        return "ko"
    standards = [_standards(letter) for letter in han]
    japanese = kana + standards.count(_ONLY_JAPAN) + len(_JAPANESE_WORDS.findall(start))
    not_japanese = sum(_JAPAN not in each for each in standards)
    if kana > _KANA_SHARE * (len(han) + kana) or japanese > not_japanese:
        return "ja"
    traditional = sum(_TAIWAN in each and _CHINA not in each for each in standards)
    simplified = sum(_CHINA in each and _TAIWAN not in each for each in standards)
    if traditional == simplified:
        return "zh"
    return "zh-Hant" if traditional > simplified else "zh-Hans"


def is_written_in(text: str, language: str) -> bool:
    """Whether the text may be in this language: it is in its script, and not rather in English.

    English is what models fall back to. Of two short sentences no more can be told for sure.
    """
    primary, by_letters = primary_language(language), east_asian_language(text)
    if by_letters or primary in _EAST_ASIAN:
        return by_letters is not None and primary_language(by_letters) == primary
    likely = _likely(text)
    return likely.get(primary, 1.0) >= likely["en"]


def load_model() -> None:
    """Load py3langid's model, which takes a second and some 80 MB; else the first text does."""
    with _LOADING:
        _model()


def _words(text: str) -> str:
    return _LINK.sub(" ", text[:_READ])


def _by_model(text: str, expected: set[str]) -> str | None:
    weighed = [
        (probability * (_EXPECTED if language in expected else 1.0), probability, language)
        for language, probability in _likely(text).items()
        if language not in _EAST_ASIAN  # by their letters they are told better
    ]
    _, probability, language = max(weighed)
    return None if probability < _LEAST or language in UNTOLD else language


def _likely(text: str) -> dict[str, float]:
    """The probability of each language that the model knows."""
    load_model()
    found: dict[str, float] = {}
    for label, probability in _model().rank(text[:_READ_BY_MODEL]):
        language = primary_language(label)
        found[language] = found.get(language, 0.0) + probability
    return found


@lru_cache(maxsize=8192)
def _standards(letter: str) -> frozenset[str]:
    """The national character sets that have the letter."""
    return frozenset(name for name in (_CHINA, _TAIWAN, _JAPAN) if letter.encode(name, errors="ignore"))


@cache
def _model() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - a third of a second

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
