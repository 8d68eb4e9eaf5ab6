"""Phone numbers, identity numbers and bank cards among the digits of a text.

Runs of digits, whatever stands between them, are divided into candidates, and each is checked by python-stdnum or
phonenumbers. A number with a check digit is hidden where that is right; others where their form, or the word before
them, says what they are. So prices, orders and dates stay readable.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Literal, NamedTuple

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

from moderation_service.telemetry.number_candidates import RUN, Candidate, Group, groups_of, possible_ends
from moderation_service.telemetry.phone_numbers import OTHER_NUMBERS, Budget, is_phone

Mark = Literal["[phone]", "[ID card]", "[bank card]"]

_USA = re.compile(r"(?!000|666|9)[0-9]{3}(?!00)[0-9]{2}(?!0000)[0-9]{4}")  # no check digit, but a form of its own
_CARD = re.compile(
    r"4[0-9]{15}(?:[0-9]{3})?|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-59]|[689])[0-9]{11,16}|35[0-9]{14,17}|6[0-9]{13,18}|50[0-9]{12,17}|5[6-9][0-9]{12,17}"
)


class Found(NamedTuple):
    """A number at `begin` to `end` of a text."""

    begin: int
    end: int
    mark: Mark


def numbers(text: str) -> Iterator[Found]:
    """The personal numbers of a text whose digits are ASCII, from left to right."""
    left = Budget()
    for run in RUN.finditer(text):
        yield from _in_run(text, groups_of(text, run), left)


def _in_run(text: str, groups: list[Group], left: Budget) -> Iterator[Found]:
    first = 0
    while first < len(groups):
        for last in possible_ends(groups, first):
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


def _with_brackets(text: str, begin: int, end: int) -> tuple[int, int]:
    """With the bracket that its first group stands in."""
    opened = begin - 1 if text[begin - 1 : begin] in {"(", "+"} else begin
    if text[opened - 1 : opened] == "(" and text[opened:begin] == "+":
        opened -= 1
    return (opened, end) if text.count(")", begin, end) > text.count("(", begin, end) else (begin, end)


def _mark(text: str, groups: list[Group], left: Budget) -> Mark | None:
    """What a candidate is. Once the budget is spent, all that may be a number is hidden without a check."""
    left.candidates -= 1
    if left.candidates < 0:
        return "[phone]"
    candidate = Candidate.of(text, groups)
    if _is_id(candidate):
        return "[ID card]"
    if _is_card(candidate):
        return "[bank card]"
    return "[phone]" if is_phone(candidate, left) else None


def _is_card(one: Candidate) -> bool:
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


def _is_id(one: Candidate) -> bool:
    count = len(one.digits)
    if one.sizes == (3, 2, 4) and one.between <= {"-", " "} and _USA.fullmatch(one.digits):
        return True
    if count in {15, 17, 18} and one.digits[0] != "0" and _is_chinese(one):
        return True
    sizes = (count,) if one.singly else one.sizes
    if one.is_decimal or one.are_years or (one.in_number and not one.bare):
        return False
    named = OTHER_NUMBERS.search(one.before) if one.bare else None
    return not named and any(sizes in forms and is_valid(one.digits) for is_valid, forms in _IDS.get(count, ()))


def _is_chinese(one: Candidate) -> bool:
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
