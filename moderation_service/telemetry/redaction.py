"""Phone numbers, identity and bank cards, and e-mail addresses taken out of what people are shown.

What has a check digit is redacted where that is right, so that prices, orders and dates stay readable. Not the model's
input: what is judged is what was posted.
"""

import re
import string
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_RESIDENT_CHECKS = "10X98765432"
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"  # in the order of their numbers, from 10
_IBAN_LEAST = 15
_NARROW = {code + 0xFEE0: code for code in range(0x21, 0x7F)} | {ord("。"): ".", 0x3000: " "}  # a character for one
_SEP = r"[ \-.·‐-―－\u00a0\u2009\u202f]"


class _Kind(NamedTuple):
    mark: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]
    """Whether the letters and digits of a match, in capitals, are of this kind."""


def redacted(text: str, mark: str | None = None) -> str:
    """The text with `[phone]`, `[ID card]`, `[bank card]` and `[e-mail]` (or `mark`) where such stand."""
    for kind in _KINDS:
        parts, end = [], 0
        for match in kind.pattern.finditer(text.translate(_NARROW)):
            if kind.holds(_bare(match.group())):
                parts += [text[end : match.start()], mark or kind.mark]
                end = match.end()
        text = "".join([*parts, text[end:]])
    return text


def _bare(text: str) -> str:
    """Letters in capitals and digits of any script as 0 to 9, without what stands between."""
    return "".join(str(int(c)) if c.isdecimal() else c.upper() for c in text if c.isalnum())


def _luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2]]
    return (sum(map(int, number[-1::-2])) + sum(doubled)) % 10 == 0 and len(set(number)) > 1


def _iban(account: str) -> bool:
    """ISO 13616: two letters, two check digits, an account; the whole is 1 modulo 97."""
    if len(account) < _IBAN_LEAST or not account.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97 == 1


def _born(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


def _resident(number: str) -> bool:
    """China's resident identity card, 18 characters by GB 11643-1999; the old one has 15 and no check digit."""
    if len(number) == 15:  # noqa: PLR2004
        return number.isdigit() and _born("19" + number[6:12])
    if not number[:17].isdigit() or not _born(number[6:14]):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, number[:17], strict=True))
    return number[17] == _RESIDENT_CHECKS[total % 11]


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


def _spain(number: str) -> bool:
    digits = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0]) + number[1:-1]
    return _DNI_LETTERS[int(digits) % 23] == number[-1]


def _brazil(number: str) -> bool:
    digits = [int(digit) for digit in number]

    def check(count: int) -> int:
        return (
            sum(weight * digit for weight, digit in zip(range(count + 1, 1, -1), digits, strict=False)) * 10 % 11 % 10
        )

    return digits[9:] == [check(9), check(10)] and len(set(digits)) > 1


def _korea(number: str) -> bool:
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    total = sum(weight * int(digit) for weight, digit in zip(weights, number[:12], strict=True))
    return (11 - total % 11) % 10 == int(number[12]) and _born("20" + number[:6])


def _always(_: str) -> bool:
    return True


def _kind(mark: str, pattern: str, holds: Callable[[str], bool] = _always) -> _Kind:
    """Nothing is taken out of the middle of a longer number or word."""
    return _Kind(mark, re.compile(rf"(?<![0-9A-Za-z])(?:{pattern})(?![0-9A-Za-z])", re.IGNORECASE), holds)


_CODE = r"(?:\({0}\)|{0})".format
_KINDS = (
    _Kind("[e-mail]", re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), _always),
    _kind("[bank card]", rf"[A-Z]{{2}}\d\d(?-i:{_SEP}?[A-Z0-9]{{4}}){{2,7}}(?-i:{_SEP}?[A-Z0-9]{{1,3}})?", _iban),
    _kind("[ID card]", rf"[1-9]\d{{5}}{_SEP}?\d{{8}}{_SEP}?\d{{3}}[\dX]|[1-9]\d{{14}}", _resident),
    _kind("[ID card]", rf"[A-Z]{{1,2}}\d{{6}}\s?{_CODE('[0-9A]')}", _hong_kong),
    _kind("[ID card]", r"[A-Z][1289]\d{8}", _taiwan),
    _kind("[ID card]", rf"(?:\d|[XYZ]{_SEP}?)\d{{7}}{_SEP}?[A-Z]", _spain),
    _kind("[ID card]", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", _brazil),
    _kind("[ID card]", r"\d{6}-?[1-8]\d{6}", _korea),
    _kind("[ID card]", r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}"),  # USA: no check digit, but a form of its own
    _kind("[bank card]", rf"[2-6]\d{{3}}(?:{_SEP}?\d){{9,15}}", _luhn),
    _kind("[phone]", rf"(?:(?:\+|00)?86{_SEP}?)?1[3-9]\d(?:{_SEP}?\d{{4}}){{2}}"),  # a Chinese mobile
    _kind("[phone]", rf"{_CODE('0[1-9][0-9]{1,2}')}{_SEP}?[2-9]\d{{2,3}}{_SEP}?\d{{4}}"),  # a Chinese landline
    _kind("[phone]", rf"[48]00{_SEP}\d{{3,4}}{_SEP}?\d{{3,4}}"),
    _kind("[phone]", rf"(?:\+|00)[1-9](?:{_SEP}{{0,2}}(?:\(\d{{1,4}}\)|\d)){{5,14}}"),  # any with a country code
    _kind("[phone]", rf"(?:1{_SEP})?{_CODE('[2-9][0-9]{2}')}{_SEP}{{1,2}}[2-9]\d{{2}}{_SEP}\d{{4}}"),  # North America
    _kind("[phone]", rf"0[1-9]\d{{1,3}}{_SEP}\d{{3,4}}(?:{_SEP}?\d{{3,4}})?"),  # a trunk code and a number
)
