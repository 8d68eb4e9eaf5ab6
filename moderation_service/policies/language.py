"""In which language a post is judged."""

import re
from typing import Literal

from moderation_service.contracts.engine_input import Language

_CHINESE = {"zh", "zho", "chi", "cmn", "yue", "wuu", "hak", "nan", "gan", "hsn", "cdo"}
_UNTOLD = {"und", "mul", "zxx", "mis"}
_HAN = re.compile("[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\U00020000-\\U000323af]")
_KANA = re.compile("[\\u3041-\\u30ff\\u31f0-\\u31ff\\uff66-\\uff9d]")
_HAN_SHARE = 0.3
_KANA_SHARE = 0.1  # of Han and kana: in Japanese far more is kana, in Chinese a letter now and then
_READ = 4096  # characters; the start of a long text is enough to tell, and bounds the time


def language_of(setting: Literal["auto", "en", "zh"], post_language: str | None, text: str) -> Language:
    """The setting; else the post's language tag; else the script of the text.

    A tag of a Chinese language gives zh, any other en, and one that names none counts as no tag.
    By script, a text is Chinese when at least three of ten letters are Han, unless kana show that it is Japanese;
    without letters it is en.
    """
    if setting != "auto":
        return setting
    primary = (post_language or "und").split("-")[0].lower()
    if primary not in _UNTOLD:
        return "zh" if primary in _CHINESE else "en"
    start = text[:_READ]
    han = len(_HAN.findall(start))
    kana = len(_KANA.findall(start))
    if kana > _KANA_SHARE * (han + kana):
        return "en"
    return "zh" if han and han >= _HAN_SHARE * sum(map(str.isalpha, start)) else "en"
