"""Character folding: the letters that a single character stands for, or what it is between letters."""

import re
import unicodedata
from collections.abc import Callable
from string import ascii_lowercase

from confusable_homoglyphs import confusables

IGNORED, SIGN_MARK, POINT_MARK, STOP_MARK, STRETCH_MARK, SPACE_MARK = "\0", "\1", "\2", "\3", "\4", " "
"""What stands between letters, as the tables tell it; STRETCH_MARK is for who folds a text."""
_STOPS = frozenset("，。；：！？、")
"""Between Chinese words, which have no spaces."""
_SEPARATING = frozenset(".,;:!?…/&'’‘\"“”()[]{}«»")
"""Signs that stand between ordinary words too, even where the space behind them was forgotten: *pen.Is it*."""
_DROPPED_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
"""Accents and vowel points. Other scripts' marks are vowels that tell words apart."""
_NAMED_LETTER = re.compile(r"LATIN (?:SMALL LETTER|CAPITAL LETTER|LETTER SMALL CAPITAL) ([A-Z])(?: WITH .*)?")
_ENCLOSED = (0x1F150, 0x1F170, 0x1F1E6)  # the A of negative circled and squared letters and regional indicators
_INVISIBLE = frozenset("\u0640\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs without a form of their own: tatweel, fillers, an empty Braille cell."""
_SAME_LETTER = str.maketrans({"ی": "ي", "ى": "ي", "ک": "ك", "æ": "ae", "œ": "oe", "ı": "i"})
LEET_SIGNS = "@$!|+€£¢©®¥§×"
_MOST_KNOWN = 50_000  # characters of a table
_MOST_LETTERS = 4  # of a character: one Arabic ligature is a sentence
_TWINS = dict(
    zip(
        "αβγεηικνορτυχωᎪᎠᎬᏀᎻᏆᎫᏦᏞᎷᏢᏒᏚᏕᎢᏙᎳᏔᏃᎩᏟᏴᗩᗷᑕᗪᗴᖴᘜᕼᒍᒪᗰᑎᑭᖇᔕᑌᐯᗯ᙭ᘔᎥ",
        "abyenikvoptuxwadeghijklmprsstvwwzycbabcdefghjlmnprsuvwxzi",
        strict=True,
    )
)
"""Besides those of UTS #39."""
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts in which a word may begin or end anywhere: Thai, Lao, Burmese, Khmer, Kana, Han; and Hangul."""


class _Table(dict[int, str]):
    """For `str.translate`: a character's replacement, computed when it is first met."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        made = self._replace(chr(code))
        if len(self) < _MOST_KNOWN:
            self[code] = made
        return made


def _fold_character(character: str) -> str:
    """A character's letters, or what it is between letters."""
    if character in _INVISIBLE:
        return IGNORED
    if letters := _letters_of(character):
        return letters
    plain = _DROPPED_MARKS.sub("", unicodedata.normalize("NFKD", character))
    category = unicodedata.category(character)
    if not plain or category in {"Cf", "Mn", "Me"}:
        return IGNORED
    if character.isspace() or plain.isspace():
        return SPACE_MARK
    apart = plain[0] in _SEPARATING or category in {"Ps", "Pe", "Pi", "Pf", "Cc"} or "\u3000" <= character <= "\u303f"
    return STOP_MARK if character in _STOPS else POINT_MARK if apart else SIGN_MARK


def _letters_of(character: str) -> str:
    for first in _ENCLOSED:
        if first <= ord(character) < first + len(ascii_lowercase):
            return ascii_lowercase[ord(character) - first]
    if named := _NAMED_LETTER.fullmatch(unicodedata.name(character, "")):
        return named[1].lower()
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    plain = _DROPPED_MARKS.sub("", unicodedata.normalize("NFKD", character))
    plain = unicodedata.normalize("NFC", plain.casefold()).translate(_SAME_LETTER)
    return "".join(one for one in plain if one.isalnum() or one in LEET_SIGNS or _is_vowel_sign(one))[:_MOST_LETTERS]


def _is_vowel_sign(mark: str) -> bool:
    return unicodedata.category(mark)[0] == "M" and not "\ufe00" <= mark <= "\ufe0f"


def _latin_twin(letter: str) -> str:
    """The Latin letter that a folded letter of another script looks like, else itself."""
    if letter.isascii() or SPACELESS.match(letter):
        return letter
    if letter in _TWINS:
        return _TWINS[letter]
    for form in (letter, letter.upper()):
        for found in confusables.is_confusable(form, greedy=True) or ():
            for twin in found["homoglyphs"]:
                if len(twin["c"]) == 1 and twin["c"].isascii() and twin["c"].isalpha():
                    return str(twin["c"].lower())
    return letter


def _as_symbol(character: str) -> str:
    """The character, if it is a symbol or emoji; nothing for what may stand in one or between two."""
    category = unicodedata.category(character)
    if category in {"Cf", "Mn", "Me", "Sk"} or character.isspace():
        return ""
    return character if category[0] == "S" and character not in _INVISIBLE else SIGN_MARK


def _ascii_form(character: str) -> str:
    form = unicodedata.normalize("NFKC", character).replace("\\", "/")
    return form if len(form) == 1 and form.isascii() else character


ASCII_FORMS = _Table(_ascii_form)
FOLDING, HOMOGLYPHS, SYMBOLS = _Table(_fold_character), _Table(_latin_twin), _Table(_as_symbol)
"""For `str.translate`: what a character stands for, its Latin twin, and the character if it is a symbol."""
