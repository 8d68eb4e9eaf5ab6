"""Phone numbers, identity numbers and bank cards among the digits of a text.

Runs of digits, whatever stands between them, are divided into candidates, and each is checked by python-stdnum or
phonenumbers. A number with a check digit is hidden where that is right; others where their form, or the word before
them, says what they are. So prices, orders and dates stay readable.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Literal, NamedTuple

import phonenumbers
import stdnum.be.nn
import stdnum.br.cpf
import stdnum.ca.sin
import stdnum.cn.ric
import stdnum.de.idnr
import stdnum.dk.cpr
import stdnum.fr.nir
import stdnum.in_.aadhaar
import stdnum.kr.rrn
import stdnum.luhn
import stdnum.my.nric
import stdnum.no.fodselsnummer
import stdnum.pl.pesel
import stdnum.ro.cnp
import stdnum.se.personnummer
import stdnum.th.pin
import stdnum.tr.tckimlik
import stdnum.za.idnr

Mark = Literal["[phone]", "[ID card]", "[bank card]"]

MIN_DIGITS, MAX_DIGITS = 7, 19
_MAX_CANDIDATES = 3000
"""Of a text. Behind them all that may be a number is hidden without a check, which bounds the time."""
_MAX_LOOKUPS = 300  # of phonenumbers, which takes 50 µs each
_BEFORE = 24  # characters before a number that may say what it is

_SEPARATOR = r"[ \t\r\n\-.·•‐-―－_()/*,，、\u00a0\u2009\u202f\u3000]"
_USA = re.compile(r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}")  # no check digit, but a form of its own
_RUN = re.compile(rf"[0-9](?:{_SEPARATOR}{{0,3}}[0-9])*+")
_GROUP = re.compile(r"[0-9]+")

_CARD = re.compile(
    r"4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-59]|[689])[0-9]{11,16}|35[0-9]{14,17}|6[0-9]{13,18}|50[0-9]{12,17}|5[6-9][0-9]{12,17}"
)
_CHINESE_MOBILE = re.compile(r"(?:(?:00)?86)?1[3-9][0-9]{9}")
_NAMED = re.compile(
    r"(?:(?<!\[)\b(?:tel|telephone|phone|call|ring|text|sms|txt|mobile|mob|cell|whats\s?app|fax|viber|contact|dial|ph)\b"
    r"|电话|手机|联系|号码|致电|拨打|热线|座机|传真|打给)"
    r"(?:[\s:：.=#/|>→~-]|me|us|him|her|at|on|is|no|nr|number|now|号|码|是|为|我|请){0,6}$",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"(?:\b(?:order|invoice|track(?:ing)?|ref(?:erence)?|sku|isbn|issn|ean|upc|gtin|item|case|ticket|model|part|serial"
    r"|article|version|build|batch|lot|id|no|nr|(?<!my )number|code|doi|pmid|issue|bug|rev(?:ision)?|commit|views?)\b"
    r"|#|№|订单|单号|编号|快递|货号|型号|条码|序列号|发票|批号|书号|代码|編號|單號|訂單|貨號)[\s:：#.号码]{0,4}$",
    re.IGNORECASE,
)
_TRUNK_REGIONS = ("CN", "FR", "GB", "DE", "JP", "KR", "IT", "AU", "TW", "BE", "NL", "CH", "AT", "TR", "IN", "UA")
_BARE_TRUNK_REGIONS = ("FR", "GB", "CN", "JP", "KR", "AU", "TW")


class Found(NamedTuple):
    """A number at `begin` to `end` of a text."""

    begin: int
    end: int
    mark: Mark


_MORE_BEFORE = re.compile(r"[0-9][-. ,:/*]$")
_MORE_AFTER = re.compile(r"[-. ,:/*][0-9]")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Groups of digits that may be one number, and what stands around them."""

    digits: str
    sizes: tuple[int, ...]
    between: frozenset[str]
    before: str
    after: str

    @property
    def bare(self) -> bool:
        return len(self.sizes) == 1

    @property
    def singly(self) -> bool:
        return len(self.sizes) > 1 and set(self.sizes) == {1}

    @property
    def in_word(self) -> bool:
        """Whether a Latin letter stands at either end."""
        return any(c.isascii() and c.isalpha() for c in self.before[-1:] + self.after[:1])

    @property
    def in_number(self) -> bool:
        """Whether more digits hang on at either end, as in a list or a decimal number."""
        return bool(_MORE_BEFORE.search(self.before) or _MORE_AFTER.match(self.after))

    @property
    def is_decimal(self) -> bool:
        """Whether these are digits behind a point."""
        return bool(re.search(r"[0-9]\.$", self.before))

    @property
    def are_years(self) -> bool:
        """Whether each group may be a year."""
        groups = (self.digits[at : at + 4] for at in range(0, len(self.digits), 4))
        return set(self.sizes) == {4} and all(group[:2] in {"19", "20"} for group in groups)

    @property
    def is_date(self) -> bool:
        return self.sizes[:3] in {(4, 2, 2), (2, 2, 4), (4, 1, 2), (4, 2, 1)} or (
            self.bare and self.digits[:2] in {"19", "20"} and self.digits[4:6] <= "12" and self.digits[6:8] <= "31"
        )


def numbers(text: str) -> Iterator[Found]:
    """The personal numbers of a text whose digits are ASCII, from left to right."""
    left = _Budget(_MAX_CANDIDATES, _MAX_LOOKUPS)
    for run in _RUN.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        yield from _in_run(text, groups, left)


@dataclass(slots=True)
class _Budget:
    candidates: int
    lookups: int


def _in_run(text: str, groups: list[tuple[int, int]], left: _Budget) -> Iterator[Found]:
    first = 0
    while first < len(groups):
        for last in _lasts(groups, first):
            begin, end = groups[first][0], groups[last][1]
            mark = _mark(text, groups[first : last + 1], left)
            if mark:
                if text[end : end + 1] in {"x", "X"} and mark == "[ID card]":
                    end += 1
                if text[begin - 1 : begin] == "+":
                    begin -= 1
                yield Found(*_with_brackets(text, begin, end), mark)
                first = last
                break
        first += 1


def _lasts(groups: list[tuple[int, int]], first: int) -> list[int]:
    """Where a number that begins with this group may end, the longest first."""
    digits, found = 0, []
    for last in range(first, min(first + MAX_DIGITS, len(groups))):
        digits += groups[last][1] - groups[last][0]
        if digits > MAX_DIGITS:
            break
        if digits >= MIN_DIGITS:
            found.append(last)
    return found[::-1]


def _with_brackets(text: str, begin: int, end: int) -> tuple[int, int]:
    """With the bracket that its first group stands in."""
    opened = begin - 1 if text[begin - 1 : begin] in {"(", "+"} else begin
    if text[opened - 1 : opened] == "(" and text[opened:begin] == "+":
        opened -= 1
    return (opened, end) if text.count(")", begin, end) > text.count("(", begin, end) else (begin, end)


def _mark(text: str, groups: list[tuple[int, int]], left: _Budget) -> Mark | None:
    begin, end = groups[0][0], groups[-1][1]
    left.candidates -= 1
    if left.candidates < 0:
        return "[phone]"
    candidate = _Candidate(
        digits="".join(text[at:until] for at, until in groups),
        sizes=tuple(until - at for at, until in groups),
        between=frozenset(text[one[1] : other[0]] for one, other in pairwise(groups)),
        before=text[max(begin - _BEFORE, 0) : begin],
        after=text[end : end + 2],
    )
    if _is_id(candidate):
        return "[ID card]"
    if _is_card(candidate):
        return "[bank card]"
    return "[phone]" if _is_phone(candidate, left) else None


def _is_card(one: _Candidate) -> bool:
    """ISO/IEC 7812: a prefix of an issuer and a check digit; in one, digit by digit, or in groups of three and more."""
    if not _CARD.fullmatch(one.digits) or len(set(one.digits)) == 1 or one.is_decimal:
        return False
    return (one.bare or one.singly or min(one.sizes[:-1]) >= 3) and stdnum.luhn.is_valid(one.digits)  # noqa: PLR2004


_IDS: dict[int, tuple[tuple[Callable[[str], bool], set[tuple[int, ...]]], ...]] = {
    9: ((stdnum.ca.sin.is_valid, {(3, 3, 3)}),),
    10: (
        (stdnum.se.personnummer.is_valid, {(6, 4)}),
        (stdnum.dk.cpr.is_valid, {(6, 4)}),
    ),
    11: (
        (stdnum.br.cpf.is_valid, {(11,), (3, 3, 3, 2), (9, 2)}),
        (stdnum.tr.tckimlik.is_valid, {(11,)}),
        (stdnum.pl.pesel.is_valid, {(11,)}),
        (stdnum.de.idnr.is_valid, {(11,), (2, 3, 3, 3)}),
        (stdnum.no.fodselsnummer.is_valid, {(11,), (6, 5)}),
        (stdnum.be.nn.is_valid, {(11,), (2, 2, 2, 3, 2), (6, 3, 2)}),
    ),
    12: (
        (stdnum.in_.aadhaar.is_valid, {(12,), (4, 4, 4)}),
        (stdnum.my.nric.is_valid, {(12,), (6, 2, 4)}),
    ),
    13: (
        (stdnum.kr.rrn.is_valid, {(13,), (6, 7)}),
        (stdnum.za.idnr.is_valid, {(13,), (6, 4, 3), (6, 4, 2, 1)}),
        (stdnum.th.pin.is_valid, {(1, 4, 5, 2, 1)}),
        (stdnum.ro.cnp.is_valid, {(13,)}),
    ),
    15: ((stdnum.fr.nir.is_valid, {(15,), (13, 2), (1, 2, 2, 2, 3, 3, 2)}),),
}
"""By the number of digits: the check, and the groups that people write it in."""


def _is_id(one: _Candidate) -> bool:
    count = len(one.digits)
    if one.sizes == (3, 2, 4) and one.between <= {"-", " "} and _USA.fullmatch(one.digits):
        return True
    if count in {15, 17, 18} and one.digits[0] != "0" and _is_chinese(one):
        return True
    sizes = (count,) if one.singly else one.sizes
    if one.is_decimal or one.are_years or (one.in_number and not one.bare):
        return False
    named = _OTHER.search(one.before) if one.bare else None
    return not named and any(sizes in forms and is_valid(one.digits) for is_valid, forms in _IDS.get(count, ()))


def _is_chinese(one: _Candidate) -> bool:
    """GB 11643-1999: 18 characters, of which the last may be X; the old number has 15 and no check digit."""
    if len(one.digits) == 15:  # noqa: PLR2004
        year, number = "19" + one.digits[6:8], one.digits
        return one.bare and number[0] in "123456" and _is_day(year, number[8:10], number[10:12])
    number = one.digits + ("X" if one.after[:1] in {"x", "X"} and len(one.digits) == 17 else "")  # noqa: PLR2004
    return len(number) == 18 and stdnum.cn.ric.is_valid(number)  # noqa: PLR2004


def _is_day(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True


def _is_phone(one: _Candidate, left: _Budget) -> bool:
    if _CHINESE_MOBILE.fullmatch(one.digits):
        return _is_written_as_mobile(one)
    if one.before.endswith("+") or one.digits.startswith("00"):
        return _is_international(one)
    if one.is_date or one.digits in "01234567890123456789" or one.digits.endswith("000"):
        return False
    if _NAMED.search(one.before):
        return len(one.digits) <= 15  # noqa: PLR2004 - ITU-T E.164
    alone = not (one.in_word or one.in_number or one.between & _OF_LISTS or _OTHER.search(one.before))
    written = not one.singly or one.digits[0] == "0"
    return alone and written and any(_is_valid(one.digits, region, left) for region in _regions(one))


def _is_written_as_mobile(one: _Candidate) -> bool:
    """Not as a decimal number, nor as an amount of money."""
    usual = one.sizes in {(3, 4, 4), (2, 3, 4, 4), (3, 8), (2, 11)}
    return usual or (len(one.between) <= 1 and one.sizes != (1, 10) and not one.between & {",", "，"})


def _is_international(one: _Candidate) -> bool:
    """ITU-T E.164: a country code, and 8 to 15 digits in all."""
    digits = one.digits.removeprefix("00")
    plus = one.before.endswith("+") and not one.before[-2:-1].isdigit()
    return (plus or one.digits.startswith("00")) and digits[0] != "0" and 8 <= len(digits) <= 15  # noqa: PLR2004


_NANP = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}")
_OF_LISTS = frozenset(",，、*")
_FORMS = {
    (3, 3, 4): ("US", "NANP"),
    (3, 7): ("US", "NANP"),
    (1, 3, 3, 4): ("US",),
    (5, 5): ("IN",),
    (3, 2, 2, 2): ("ES",),
    (3, 3, 3): ("ES", "PL"),
    (2, 5, 4): ("BR",),
    (2, 4, 4): ("MX", "BR"),
    (1, 3, 3, 2, 2): ("RU",),
    (11,): ("RU",),
    (10,): ("US", "IN"),
}
"""Where numbers without a code in front are written in these groups."""


def _regions(one: _Candidate) -> tuple[str, ...]:
    """In which countries it may be a number."""
    if "." in one.between and min(one.sizes) < 2:  # noqa: PLR2004 - a version, a date
        return ()
    if one.digits[0] == "0":
        return _trunk_regions(one)
    if "/" in one.between:
        return ()
    if one.sizes in {(3, 3, 4), (3, 4, 3)} and one.digits[:3] in {"400", "800"}:
        return ("ZZ",)
    unusual = (one.bare and one.digits[0] in {10: "1", 11: "12345679"}.get(len(one.digits), "")) or (
        one.sizes == (3, 3, 3) and (one.digits[0] not in "5678" or one.digits.endswith("00"))
    )
    return () if unusual else _FORMS.get(one.sizes, ())


def _trunk_regions(one: _Candidate) -> tuple[str, ...]:
    """In which countries people dial a 0 first, and write it so."""
    if one.bare or one.singly:
        return _BARE_TRUNK_REGIONS
    if one.sizes == (4, 4, 4):
        return ("CN",)
    whole = 2 <= one.sizes[0] <= 5 and min(one.sizes[1:]) >= 2  # noqa: PLR2004
    most = 12 if len(one.sizes) == 2 else 11  # noqa: PLR2004
    return _TRUNK_REGIONS if whole and 9 <= len(one.digits) <= most else ()  # noqa: PLR2004


def _is_valid(digits: str, region: str, left: _Budget) -> bool:
    """Whether a number of this country is given out; "ZZ" asks nobody. Behind the budget every form is believed."""
    left.lookups -= 1
    if region == "ZZ" or left.lookups < 0:
        return True
    if region == "NANP":  # also numbers that are not given out
        return bool(_NANP.fullmatch(digits))
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException:
        return False
