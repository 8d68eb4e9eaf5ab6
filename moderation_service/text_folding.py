"""Text folding: letters as a reader takes them, however they are disguised, with their offsets in the text.

Undone are case, full width and other compatibility forms (NFKD), marks on letters, zero-width characters, homoglyphs
(UTS #39), leetspeak and stretched letters. What stands between two letters is kept as a gap, since spaced letters are a
disguise and a space between two words is none. Linear in the text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from string import ascii_lowercase
from typing import NamedTuple

from confusable_homoglyphs import confusables

MAX_TEXT = 100_000
"""Characters of a text that are read: more than a model reads, and a bound on the time."""

NO_GAP, SIGN, POINT, SPACE, WIDE, END = range(6)
_IGNORED, _SIGN, _POINT, _SPACE = "\0", "\1", "\2", " "
_BETWEEN = _IGNORED + _SIGN + _POINT + _SPACE
_SEPARATING = frozenset(".,;:!?…/&'’‘\"“”()[]{}«»")
"""Signs that stand between ordinary words too, even where the space behind them was forgotten: *pen.Is it*."""
_DROPPED_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
"""Accents and vowel points. Other scripts' marks are vowels that tell words apart."""
_NAMED_LETTER = re.compile(r"LATIN (?:SMALL LETTER|CAPITAL LETTER|LETTER SMALL CAPITAL) ([A-Z])(?: WITH .*)?")
_ENCLOSED = (0x1F150, 0x1F170, 0x1F1E6)  # the A of negative circled and squared letters and regional indicators
_LEET_SIGNS = "@$!|+€£"
_LEET = str.maketrans("013456789@$!|+€£", "oieasgtbgasiitel")
_LEET_L = _LEET | str.maketrans("1!|", "lll")
_LEET_WORD = re.compile(rf"[a-z0-9{re.escape(_LEET_SIGNS)}]+")
_HAS_LEET = re.compile(rf"[0-9{re.escape(_LEET_SIGNS)}][a-z]|[a-z][0-9{re.escape(_LEET_SIGNS)}]")
_MOST_KNOWN = 50_000  # characters of a table
_MOST_LETTERS = 4  # of a character: one Arabic ligature is a sentence
_CAPITAL_I = re.compile(r"(?<=[a-z])I(?=[a-z])")
_RUN = re.compile(rf"[^{_BETWEEN}{re.escape(_LEET_SIGNS)}]+")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")
_WORD = re.compile(rf"[^{_BETWEEN}]+")
_LATIN = re.compile("[a-z]")
_NO_LATIN_TWIN = re.compile("[\u0250-\u1fff]")
SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts in which a word may begin or end anywhere: Thai, Lao, Burmese, Khmer, Kana, Han; and Hangul."""
_SPACELESS_RUN = re.compile(f"{SPACELESS.pattern}+")
IS_GAP = bytes([0, *[1] * 255])
"""For `bytes.translate`: gaps as 0 and 1."""


class FoldedText(NamedTuple):
    """Letters alone; `offsets[n]` is where letter n stands in the text.

    `gaps[n]` is what stands before letter n. There is one more of them than letters; the first and the last are END.
    `boundaries[n]` is 1 where a word may begin or end before letter n: at a gap, and beside a letter of `SPACELESS`.
    """

    letters: str
    offsets: list[int]
    gaps: bytes
    boundaries: bytes


def fold(text: str) -> FoldedText:
    """The letters as they are written, disguised or not: what terms are kept as."""
    return next(readings(text))


def readings(text: str) -> Iterator[FoldedText]:
    """The letters as they are written, then each other way to read them that the text gives reason for."""
    text = text[:MAX_TEXT]
    folded, offsets = _folded(text)
    yield _letters(folded, offsets)
    if not folded.isascii() and (latin := _latin(folded)) != folded:
        folded = latin
        yield _letters(folded, offsets)
    marked = _CAPITAL_I.sub("1", text)
    if marked != text or _HAS_LEET.search(folded):
        signs = folded if marked == text else _latin(_folded(marked)[0])
        for letters in (_LEET, _LEET_L):
            folded = _LEET_WORD.sub(partial(_unleet, letters=letters), signs)
            yield _letters(folded, offsets)
    if _STRETCHED.search(folded):
        yield _letters(_STRETCHED.sub(lambda run: run[1] + _IGNORED * (len(run[0]) - 1), folded), offsets)


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
    for first in _ENCLOSED:
        if first <= ord(character) < first + len(ascii_lowercase):
            return ascii_lowercase[ord(character) - first]
    if named := _NAMED_LETTER.fullmatch(unicodedata.name(character, "")):
        return named[1].lower()
    plain = _DROPPED_MARKS.sub("", unicodedata.normalize("NFKD", character))
    plain = unicodedata.normalize("NFC", plain.casefold())
    letters = [one for one in plain if one.isalnum() or one in _LEET_SIGNS or _is_vowel_sign(one)]
    if letters:
        return "".join(letters[:_MOST_LETTERS])
    category = unicodedata.category(character)
    if not plain or category in {"Cf", "Mn", "Me"}:
        return _IGNORED
    if character.isspace() or plain.isspace():
        return _SPACE
    apart = plain[0] in _SEPARATING or category in {"Ps", "Pe", "Pi", "Pf", "Cc"} or "\u3000" <= character <= "\u303f"
    return _POINT if apart else _SIGN


def _is_vowel_sign(mark: str) -> bool:
    return unicodedata.category(mark)[0] == "M" and not "\ufe00" <= mark <= "\ufe0f"


def _latin_twin(letter: str) -> str:
    """The Latin letter that a folded letter of another script looks like, else itself."""
    if letter.isascii() or SPACELESS.match(letter):
        return letter
    for form in (letter, letter.upper()):
        for found in confusables.is_confusable(form, greedy=True) or ():
            for twin in found["homoglyphs"]:
                if len(twin["c"]) == 1 and twin["c"].isascii() and twin["c"].isalpha():
                    return str(twin["c"].lower())
    return letter


_FOLDING, _HOMOGLYPHS = _Table(_fold_character), _Table(_latin_twin)


def _folded(text: str) -> tuple[str, list[int] | range]:
    """A folded character for each of the text, or several, and the offset of each."""
    folded = text.translate(_FOLDING)
    if len(folded) == len(text):
        return folded, range(len(text))
    return folded, [at for at, character in enumerate(text) for _ in _FOLDING[ord(character)]]


def _latin(folded: str) -> str:
    """Homoglyphs as Latin letters: in words with a Latin letter, and elsewhere if every letter has a Latin twin."""
    twins = folded.translate(_HOMOGLYPHS)
    if not _NO_LATIN_TWIN.search(twins):
        return twins
    return _WORD.sub(lambda word: word[0].translate(_HOMOGLYPHS) if _LATIN.search(word[0]) else word[0], folded)


def _unleet(word: re.Match[str], letters: dict[int, int]) -> str:
    """The word with letters for its digits and signs, but for those that end a sentence; a number stays one."""
    if not _LATIN.search(word[0]):
        return word[0]
    spelled = word[0].rstrip("!|+")
    return spelled.translate(letters) + _POINT * (len(word[0]) - len(spelled))


def _letters(folded: str, offsets: list[int] | range) -> FoldedText:
    letters, kept, gaps, end = [], list[int](), bytearray(), 0
    for run in _RUN.finditer(folded):
        between = folded[end : run.start()]
        gaps.append(_gap(between) if kept else END)
        gaps.extend(bytes(run.end() - run.start() - 1))
        letters.append(run.group())
        kept.extend(offsets[run.start() : run.end()])
        end = run.end()
    gaps.append(END)
    joined, boundaries = "".join(letters), bytearray(gaps.translate(IS_GAP))
    for run in () if joined.isascii() else _SPACELESS_RUN.finditer(joined):
        boundaries[run.start() : run.end() + 1] = b"\1" * (run.end() + 1 - run.start())
    return FoldedText(joined, kept, bytes(gaps), bytes(boundaries))


def _gap(between: str) -> int:
    if spaces := between.count(_SPACE):
        return SPACE if spaces == 1 else WIDE
    if _POINT in between or "!" in between:
        return POINT
    return SIGN if between.strip(_IGNORED) else NO_GAP
