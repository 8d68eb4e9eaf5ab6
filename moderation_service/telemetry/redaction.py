"""Personal data taken out of what people are shown: phones, identity and bank cards, e-mail addresses, accounts.

Not the model's input: what is judged is what was posted. Full-width and foreign digits, invisible characters and
numerals are read as the digits that people see. Linear in the length of the text.
"""

import re
import string
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import stdnum.es.dni
import stdnum.es.nie
import stdnum.fi.hetu
import stdnum.iban
import stdnum.in_.pan
import stdnum.it.codicefiscale
import stdnum.mx.curp

from moderation_service.telemetry.personal_numbers import numbers

WORDS_SHOWN = 120  # characters, of a beginning
_TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"  # in the order of their numbers, from 10
_NUMERALS = dict(zip("零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖", "001234567891123456789", strict=True))
_ALIKE = {
    **{code + 0xFEE0: code for code in range(0x21, 0x7F)},
    **dict(zip(map(ord, "⓪①②③④⑤⑥⑦⑧⑨⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉"), "0123456789" * 3, strict=True)),
    ord("。"): ".",
    0x3000: " ",
}
"""A character for one."""
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\u00ad\u0300-\u036f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u20e3\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
_IN_NUMERALS = re.compile(rf"[0-9{''.join(_NUMERALS)}](?:[ -]?[0-9{''.join(_NUMERALS)}]){{10,}}+")
_LETTERS_FOR_DIGITS = re.compile(r"(?<![A-Za-z0-9])(?=[0-9]*[lIoO])[1lI][3-9][0-9lIoO]{9}(?![A-Za-z0-9])")
_AS_DIGITS = str.maketrans("lIoO", "1100")
_NO_NUMBERS = re.compile(
    r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"  # a UUID
    r"|(?<![0-9A-Za-z])(?=[0-9]*[a-f])[0-9a-f]{16,}+(?![0-9A-Za-z])"  # a digest
)


class _Kind(NamedTuple):
    mark: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]
    """Whether the letters and digits of a match, in capitals, are of this kind."""


def redacted(text: str, mark: str | None = None) -> str:
    """The text with `[phone]`, `[ID card]`, `[bank card]`, `[e-mail]` and `[account]` (or `mark`) where such stand."""
    parts, end = [], 0
    for begin, until, name in _found(text):
        parts += [text[end:begin], mark or name]
        end = until
    return "".join([*parts, text[end:]])


def beginning(text: str) -> str:
    """The first words of a text: enough to know a post by."""
    return redacted(text[: 4 * WORDS_SHOWN])[:WORDS_SHOWN]


def _found(text: str) -> list[tuple[int, int, str]]:
    """Where what stands, from left to right, without an overlap."""
    plain, hidden = _plain(text)
    found: list[tuple[int, int, str]] = []
    for kind in _KINDS:
        plain = kind.pattern.sub(partial(_blanked, kind=kind, found=found), plain)
    plain = _NO_NUMBERS.sub(lambda match: "\0" * len(match.group()), plain)
    found += numbers(plain)
    return sorted((_place(begin, hidden), _place(end - 1, hidden) + 1, mark) for begin, end, mark in found)


def _blanked(match: re.Match[str], kind: _Kind, found: list[tuple[int, int, str]]) -> str:
    """What no other kind finds again."""
    text = match.group()
    if not kind.holds("".join(c.upper() for c in text if c.isalnum())):
        return text
    found.append((*match.span(), kind.mark))
    return "\0" * len(text)


def _plain(text: str) -> tuple[str, list[int]]:
    """The text as it is read; and of each invisible character that was left out, its place in the plain text."""
    hidden = [match.start() - count for count, match in enumerate(_INVISIBLE.finditer(text))]
    plain = _INVISIBLE.sub("", text).translate(_ALIKE)
    plain = _FOREIGN_DIGIT.sub(lambda digit: str(int(digit.group())), plain)
    plain = _LETTERS_FOR_DIGITS.sub(lambda run: run.group().translate(_AS_DIGITS), plain)
    numerals = str.maketrans(_NUMERALS)
    return _IN_NUMERALS.sub(lambda run: run.group().translate(numerals), plain), hidden


def _place(at: int, hidden: list[int]) -> int:
    """Where a character of the plain text stands in the text."""
    return at + bisect_right(hidden, at)


def _hong_kong(number: str) -> bool:
    letters = "".join(c for c in number[:2] if c.isalpha()).rjust(2)
    values = [36 if c == " " else int(c, 36) for c in letters] + [
        int(c) for c in number.strip(string.ascii_uppercase)[:6]
    ]
    check = 10 if number[-1] == "A" else int(number[-1])
    return (sum(weight * value for weight, value in zip(range(9, 1, -1), values, strict=True)) + check) % 11 == 0


def _taiwan(number: str) -> bool:
    first = _TAIWAN_LETTERS.index(number[0]) + 10
    digits = [first // 10, first % 10, *map(int, number[1:])]
    return (
        sum(weight * digit for weight, digit in zip((1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), digits, strict=True)) % 10 == 0
    )


def _singapore(number: str) -> bool:
    total = sum(weight * int(digit) for weight, digit in zip((2, 7, 6, 5, 4, 3, 2), number[1:8], strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(number[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}
    at = 10 - total % 11 if number[0] == "M" else total % 11
    return letters[number[0]][at] == number[-1]


def _spain(number: str) -> bool:
    return bool(stdnum.es.dni.is_valid(number) or stdnum.es.nie.is_valid(number))


def _always(_: str) -> bool:
    return True


def _kind(mark: str, pattern: str, holds: Callable[[str], bool] = _always) -> _Kind:
    return _Kind(mark, re.compile(pattern, re.IGNORECASE), holds)


def _id(pattern: str, holds: Callable[[str], bool] = _always) -> _Kind:
    """Nothing is taken out of the middle of a longer number or word."""
    return _kind("[ID card]", rf"(?<![0-9A-Z]){pattern}(?![0-9A-Z])", holds)


_SEP = r"[ \-.·_‐-―－\u00a0\u2009\u202f]?"
_AT = r"\s?[\[({<【（]\s?(?:at|a|@|艾特)\s?[\])}>】）]\s?"
_DOT = r"(?:\.|,(?=(?:com|net|org|cn)\b)|\s?[\[({<【（]\s?(?:dot|d0t|\.|点)\s?[\])}>】）]\s?|\s(?:dot|\.)\s)"
_LOCAL, _LABEL = r"(?<![\w.+%-])[\w.+%-]{1,64}", r"[\w-]{1,63}"
_HANDLE = r"(?=[\w.-]*[0-9_])[a-z][\w.-]{4,31}|[0-9](?:[ ._-]?[0-9]){4,11}"
_KINDS = (
    _kind("[e-mail]", rf"{_LOCAL}@{_LABEL}(?:{_DOT}{_LABEL}){{1,5}}"),
    _kind("[e-mail]", rf"(?<![\w.+%-])[\w.+%-]{{1,64}}?_at_{_LABEL}(?:{_DOT}{_LABEL}){{1,5}}"),
    _kind("[e-mail]", r"(?<!\w)(?:[\w.] ){2,40}@(?: [\w-]){2,40} \.(?: ?[a-z]){2,6}(?!\w)"),
    _kind("[e-mail]", rf"{_LOCAL}{_AT}{_LABEL}(?:{_DOT}{_LABEL}){{0,5}}"),
    _kind(
        "[e-mail]",
        rf"{_LOCAL}(?:\s(?:at|@)\s?|\s?(?:艾特|圈a)\s?){_LABEL}(?:(?:\s(?:dot|\.)\s|{_DOT}(?=com|net|org|cn)|点){_LABEL}){{1,4}}",
    ),
    _kind(
        "[account]",
        r"(?:微信|薇信|威信|维信|徽信|v信|(?<![a-z])(?:vx|wx|we?chat|weixin)|[加＋+]\s?[vV薇微]|卫星)"
        rf"(?:号|\s?id|账号)?\s?(?:[:：是为_-]\s?)?(?:{_HANDLE})",
    ),
    _kind("[account]", rf"(?:(?<![a-z])v\s?[:：]|[薇卫威维][心❤♥]?\s?[:：]?)\s?(?:{_HANDLE})"),
    _kind("[account]", r"(?:(?<![a-z])q\s?[:：]?|扣\s?[:：])\s?[1-9][0-9]{5,10}(?![0-9])"),
    _kind("[account]", r"(?:微信号?|weixin|we?chat(?:\s?id)?|vx|wx)\s?[:：]\s?[a-z][\w-]{5,19}"),
    _kind(
        "[account]",
        r"(?:(?<![a-z])qq|扣扣|抠抠|企鹅|秋秋)\s?(?:号码|号|群)?\s?[:：]?\s?[1-9](?:[ ._-]?[0-9]){4,11}(?![0-9])",
    ),
    _kind(
        "[account]",
        r"(?<![a-z])(?:telegram|tg|line\s?id|whatsapp|snap(?:chat)?|insta(?:gram)?|ig|kik|skype|discord)"
        r"(?:\s?(?:id|号|账号))?\s?[:：@]\s?@?[\w.]{3,32}",
    ),
    _kind("[account]", r"(?<![a-z])(?:t\.me|wa\.me|m\.me|line\.me/ti/p)/[\w+~-]{3,64}"),
    _kind(
        "[bank card]",
        rf"(?<![0-9A-Z])[A-Z]{{2}}[0-9]{{2}}(?:{_SEP}[A-Z0-9]{{4}}){{2,7}}(?:{_SEP}[A-Z0-9]{{1,3}})?(?![0-9A-Z])",
        stdnum.iban.is_valid,
    ),
    _id(r"[A-Z]{1,2}[0-9]{6}\s?(?:\([0-9A]\)|[0-9A])", _hong_kong),
    _id(r"[A-Z][1289][0-9]{8}", _taiwan),
    _id(rf"[STFGM]{_SEP}[0-9]{{7}}{_SEP}[A-Z]", _singapore),
    _id(rf"(?:[0-9]|[XYZ]{_SEP})[0-9]{{7}}{_SEP}[A-Z]", _spain),
    _id(r"[A-Z]{5}[0-9]{4}[A-Z]", stdnum.in_.pan.is_valid),
    _id(r"[A-CEGHJ-PR-TW-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]"),  # a British national insurance number
    _id(r"[A-Z]{6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]{3}[A-Z]", stdnum.it.codicefiscale.is_valid),
    _id(r"[A-Z]{4}[0-9]{6}[A-Z]{6}[0-9A-Z][0-9]", stdnum.mx.curp.is_valid),
    _id(r"(?<=passport )[A-Z]{1,2}[0-9]{6,8}|(?<=护照)[A-Z]{1,2}[0-9]{7,8}"),
)
