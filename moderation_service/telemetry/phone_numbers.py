"""Phone numbers: by their form and the word before them, and checked by phonenumbers."""

import re
from dataclasses import dataclass

import phonenumbers

from moderation_service.telemetry.number_candidates import Candidate

_CHINESE_MOBILE = re.compile(r"(?:(?:00)?86)?1[3-9][0-9]{9}")
_NAMED = re.compile(
    r"(?:(?<!\[)\b(?:tel|telephone|phone|call|ring|text|sms|txt|mobile|mob|cell|whats\s?app|fax|viber|contact|dial|ph)\b"
    r"|电话|手机|联系|号码|致电|拨打|热线|座机|传真|打给)"
    r"(?:[\s:：.=#/|>→~-]|me|us|him|her|at|on|is|no|nr|number|now|号|码|是|为|我|请){0,6}$",
    re.IGNORECASE,
)
OTHER_NUMBERS = re.compile(
    r"(?:\b(?:order|invoice|track(?:ing)?|ref(?:erence)?|sku|isbn|issn|ean|upc|gtin|item|case|ticket|model|part|serial"
    r"|article|version|build|batch|lot|id|no|nr|(?<!my )number|code|doi|pmid|issue|bug|rev(?:ision)?|commit|views?)\b"
    r"|#|№|订单|单号|编号|快递|货号|型号|条码|序列号|发票|批号|书号|代码|編號|單號|訂單|貨號)[\s:：#.号码]{0,4}$",
    re.IGNORECASE,
)
"""Ends in a word for numbers that are no person's: orders, invoices, parcels."""
_TRUNK_REGIONS = ("CN", "FR", "GB", "DE", "JP", "KR", "IT", "AU", "TW", "BE", "NL", "CH", "AT", "TR", "IN", "UA")
_BARE_TRUNK_REGIONS = ("FR", "GB", "CN", "JP", "KR", "AU", "TW")
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


@dataclass(slots=True)
class Budget:
    """Checks that are left for a text, which bound the time: of candidates, and of lookups in phonenumbers (50 µs)."""

    candidates: int = 3000
    lookups: int = 300


def is_phone(one: Candidate, left: Budget) -> bool:
    """Whether it is a phone number. Once the budget is spent, every form of one counts."""
    if _CHINESE_MOBILE.fullmatch(one.digits):
        return _is_written_as_mobile(one)
    if one.before.endswith("+") or one.digits.startswith("00"):
        return _is_international(one)
    if one.is_date or one.digits in "01234567890123456789" or one.digits.endswith("000"):
        return False
    if _NAMED.search(one.before):
        return len(one.digits) <= 15  # noqa: PLR2004 - ITU-T E.164
    alone = not (one.in_word or one.in_number or one.between & _OF_LISTS or OTHER_NUMBERS.search(one.before))
    written = not one.singly or one.digits[0] == "0"
    return alone and written and any(_is_valid(one.digits, region, left) for region in _regions(one))


def _is_written_as_mobile(one: Candidate) -> bool:
    """Not as a decimal number, nor as an amount of money."""
    usual = one.sizes in {(3, 4, 4), (2, 3, 4, 4), (3, 8), (2, 11)}
    return usual or (len(one.between) <= 1 and one.sizes != (1, 10) and not one.between & {",", "，"})


def _is_international(one: Candidate) -> bool:
    """ITU-T E.164: a country code, and 8 to 15 digits in all."""
    digits = one.digits.removeprefix("00")
    plus = one.before.endswith("+") and not one.before[-2:-1].isdigit()
    return (plus or one.digits.startswith("00")) and digits[0] != "0" and 8 <= len(digits) <= 15  # noqa: PLR2004


def _regions(one: Candidate) -> tuple[str, ...]:
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


def _trunk_regions(one: Candidate) -> tuple[str, ...]:
    """In which countries people dial a 0 first, and write it so."""
    if one.bare or one.singly:
        return _BARE_TRUNK_REGIONS
    if one.sizes == (4, 4, 4):
        return ("CN",)
    whole = 2 <= one.sizes[0] <= 5 and min(one.sizes[1:]) >= 2  # noqa: PLR2004
    most = 12 if len(one.sizes) == 2 else 11  # noqa: PLR2004
    return _TRUNK_REGIONS if whole and 9 <= len(one.digits) <= most else ()  # noqa: PLR2004


def _is_valid(digits: str, region: str, left: Budget) -> bool:
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
