"""Text folding: letters as a reader takes them, however they are disguised, with their offsets in the text.

Undone are case, full width and other compatibility forms (NFKD), marks on letters, invisible characters, homoglyphs
(UTS #39), leetspeak, and stretched or doubled letters. What stands between two letters is kept as a gap, since spaced
letters are a disguise and a space between two words is none. Linear in the text.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from moderation_service.character_folding import (
    ASCII_FORMS,
    FOLDING,
    HOMOGLYPHS,
    IGNORED,
    LEET_SIGNS,
    POINT_MARK,
    SIGN_MARK,
    SPACE_MARK,
    SPACELESS,
    STOP_MARK,
    STRETCH_MARK,
    SYMBOLS,
)

MAX_TEXT = 100_000
"""Characters of a text that are read: more than a model reads, and a bound on the time."""

NO_GAP, SIGN, POINT, SPACE, WIDE, STOP, END = range(7)
_BETWEEN = IGNORED + SIGN_MARK + POINT_MARK + STOP_MARK + STRETCH_MARK + SPACE_MARK
_LEET = str.maketrans("02345789@$+€£¢©®¥§×1!|6", "ozeastbgastelccrysxiilg")
_LEETS = (_LEET, *(_LEET | str.maketrans("1!|6", letters) for letters in ("lilb", "llig", "iiib")))
"""What 1, ! and | stand for depends on the word: i or l; and 6 for g or b."""
_SIGNS = re.escape(LEET_SIGNS)
_LEET_LETTER = rf"[a-z0-9{_SIGNS}]"
_LEET_WORD = re.compile(rf"[a-z0-9{_SIGNS}{IGNORED}]+")
_LEET_SPELLED = re.compile(rf"(?<!{_LEET_LETTER}){_LEET_LETTER}(?:[{_BETWEEN}]+{_LEET_LETTER}(?!{_LEET_LETTER})){{2,}}")
_LEET_SIGN = re.compile(rf"[0-9{_SIGNS}]")
_HAS_LEET = re.compile(rf"[0-9{_SIGNS}]{IGNORED}*[a-z]|[a-z]{IGNORED}*[0-9{_SIGNS}]")
_DRAWN = {
    **dict.fromkeys(("|_|", "(_)"), "u"),
    **dict(zip(("\\/\\/", "/\\/\\", "\\/", "/\\", "|-|", "|\\|", "|<", "|)", "()", "]["), "wmvahnkdoi", strict=True)),
}
_DRAWN_LETTER = re.compile("|".join(map(re.escape, _DRAWN)))
_FLAG = re.compile("(?<![\U0001f1e6-\U0001f1ff])[\U0001f1e6-\U0001f1ff]{2}(?![\U0001f1e6-\U0001f1ff])")
_CAPITAL_I = re.compile(r"(?<=[a-z])I(?=[a-z])")
_RUN = re.compile(rf"[^{_BETWEEN}{_SIGNS}]+")
_STRETCHED = re.compile(rf"([^\W\d_])(?:{IGNORED}*+\1){{2,}}+|(?<!\w)([^\W\d_])(?:[{_BETWEEN}]++\2(?!\w)){{2,}}+")
_MORE = re.compile(f"{STRETCH_MARK}{IGNORED}*")
_DOUBLED = re.compile(r"\b(?:([^\W\d_])\1){3,64}\b")
_WORD = re.compile(rf"[^{_BETWEEN.replace(IGNORED, '')}]+")
_LATIN = re.compile("[a-z]")
_NO_LATIN_TWIN = re.compile("[\u0250-\u1fff]")
_CAPITALS = str.maketrans("ΗΝΥ", "HNY")
"""Greek capitals that look like other Latin letters than their small forms do."""
_NATIVE = (
    (re.compile("[\u0400-\u052f]"), str.maketrans("abcehikmnoprstuxy0346", "авсенікмпоргѕтихуозчб")),
    (re.compile("[\u0370-\u03ff]"), str.maketrans("abegikmnoprtuvwxyz0", "αβεγικμηορρτυνωχγζο")),
)
"""Cyrillic and Greek: letters of the script, and what Latin letters and digits in a word of it look like."""
_SPACELESS_RUN = re.compile(f"{SPACELESS.pattern}+")
NO_SYMBOL = SIGN_MARK
"""In a text's symbols, what is none."""
IS_GAP = bytes([0, *[1] * 255])
"""For `bytes.translate`: gaps as 0 and 1."""


class FoldedText(NamedTuple):
    """Letters alone; `offsets[n]` is where letter n stands in the text.

    `gaps[n]` is what stands before letter n. There is one more of them than letters; the first and the last are END.
    `boundaries[n]` is 1 where a word may begin or end before letter n: at a gap, and beside a letter of `SPACELESS`.
    `stretched` are the letters that stand for three or more of their kind, and where these end in the text.
    """

    letters: str
    offsets: list[int]
    gaps: bytes
    boundaries: bytes
    stretched: dict[int, int]


def fold(text: str) -> FoldedText:
    """The letters as they are written, disguised or not, else the symbols: what terms are kept as."""
    folded = _letters(*_folded(_FLAG.sub("**", text)))
    return folded if folded.letters else _symbols(text)


def readings(text: str) -> Iterator[FoldedText]:
    """The letters as they are written, then in each other way that the text gives reason for; symbols last."""
    text = text[:MAX_TEXT]
    plain = _FLAG.sub("**", text)
    folded, offsets = _folded(plain)
    found = {folded: None}  # in order
    latin = folded
    if not folded.isascii():
        latin = _latin(_folded(plain.translate(_CAPITALS))[0])
        found |= {latin: None, _native(folded): None}
    marked = _DRAWN_LETTER.sub(_drawn, _CAPITAL_I.sub("1", plain))
    if marked != plain or _HAS_LEET.search(latin) or (_LEET_SIGN.search(latin) and _LEET_SPELLED.search(latin)):
        signs = latin if marked == plain else _latin(_folded(marked.translate(_CAPITALS))[0])
        for letters in _LEETS:
            unleet = partial(_unleet, letters=letters)
            found[_LEET_SPELLED.sub(unleet, _LEET_WORD.sub(unleet, signs))] = None
    for reading in found:
        yield _letters(reading, offsets)
        if (plainer := _STRETCHED.sub(_unstretched, _DOUBLED.sub(_halved, reading))) != reading:
            yield _letters(plainer, offsets)
    if (symbols := _symbols(text)).letters:
        yield symbols


def ascii_forms(text: str) -> str:
    """The text as browsers read links: ASCII for each character that is a form of it, slashes for backslashes."""
    return text.translate(ASCII_FORMS)


def latin_twins(word: str) -> str:
    """A word that mixes Latin letters with those that look like them, in Latin letters; any other as it is."""
    folded = word.casefold()
    return folded.translate(HOMOGLYPHS) if _LATIN.search(folded) else word


def _folded(text: str) -> tuple[str, list[int] | range]:
    """A folded character for each of the text, or several, and the offset of each."""
    folded = text.translate(FOLDING)
    if len(folded) == len(text):
        return folded, range(len(text))
    return folded, [at for at, character in enumerate(text) for _ in FOLDING[ord(character)]]


def _latin(folded: str) -> str:
    """Homoglyphs as Latin letters: in words with a Latin letter, and elsewhere if every letter has a Latin twin."""
    twins = folded.translate(HOMOGLYPHS)
    if not _NO_LATIN_TWIN.search(twins):
        return twins
    return _WORD.sub(lambda word: word[0].translate(HOMOGLYPHS) if _is_mixed(word[0]) else word[0], folded)


def _is_mixed(word: str) -> bool:
    """Whether a word has a Latin letter; or is a single letter, as of a word that is spelled apart."""
    return len(word) == 1 or _LATIN.search(word) is not None


def _native(folded: str) -> str:
    """Latin letters and digits in Cyrillic and Greek words as the letters that they look like."""
    for letters, twins in _NATIVE:
        if letters.search(folded):
            folded = _WORD.sub(partial(_translated, letters=letters, twins=twins), folded)
    return folded


def _translated(word: re.Match[str], letters: re.Pattern[str], twins: dict[int, int]) -> str:
    return word[0].translate(twins) if letters.search(word[0]) else word[0]


def _drawn(letter: re.Match[str]) -> str:
    return _DRAWN[letter[0]] + "\u200b" * (len(letter[0]) - 1)


def _unleet(word: re.Match[str], letters: dict[int, int]) -> str:
    """The word with letters for its digits and signs, but for those that end a sentence; a number stays one."""
    if not _LATIN.search(word[0]):
        return word[0]
    spelled = word[0].rstrip("!|+")
    if _HAS_LEET.search(spelled):
        spelled = word[0].rstrip("!")
    return spelled.translate(letters) + POINT_MARK * (len(word[0]) - len(spelled))


def _halved(word: re.Match[str]) -> str:
    """vviiaaggrraa, or with each letter four times."""
    letters = word[0]
    while _DOUBLED.fullmatch(letters):
        letters = letters[::2]
    return "".join(letter + IGNORED * (len(word[0]) // len(letters) - 1) for letter in letters)


def _unstretched(run: re.Match[str]) -> str:
    return run[0][0] + STRETCH_MARK + IGNORED * (len(run[0]) - 2)


def _symbols(text: str) -> FoldedText:
    """Symbols and emoji, without skin tones and what joins them; letters between them are gaps in which none match."""
    symbols = text.translate(SYMBOLS)
    if not symbols.strip(SIGN_MARK):
        return FoldedText("", [], b"", b"", {})
    offsets = [at for at, character in enumerate(text) for _ in SYMBOLS[ord(character)]]
    return FoldedText(symbols, offsets, bytes(len(symbols) + 1), b"\1" * (len(symbols) + 1), {})


def _letters(folded: str, offsets: list[int] | range) -> FoldedText:
    letters, kept, gaps, end, stretched = [], list[int](), bytearray(), 0, dict[int, int]()
    for run in _RUN.finditer(folded):
        gaps.append(_gap(folded[end : run.start()]) if kept else END)
        gaps.extend(bytes(run.end() - run.start() - 1))
        letters.append(run.group())
        kept.extend(offsets[run.start() : run.end()])
        end = run.end()
        if more := _MORE.match(folded, end):
            stretched[len(kept) - 1] = offsets[more.end() - 1] + 1
    gaps.append(END)
    joined, boundaries = "".join(letters), bytearray(gaps.translate(IS_GAP))
    for run in () if joined.isascii() else _SPACELESS_RUN.finditer(joined):
        boundaries[run.start() : run.end() + 1] = b"\1" * (run.end() + 1 - run.start())
    return FoldedText(joined, kept, bytes(gaps), bytes(boundaries), stretched)


def _gap(between: str) -> int:
    if STOP_MARK in between:
        return STOP
    if spaces := between.count(SPACE_MARK):
        return SPACE if spaces == 1 else WIDE
    if POINT_MARK in between or "!" in between:
        return POINT
    return SIGN if between.strip(IGNORED + STRETCH_MARK) else NO_GAP
