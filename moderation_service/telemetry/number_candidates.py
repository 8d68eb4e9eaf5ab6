"""Digits of a text, in the groups that may be one number, and what stands around them."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

MIN_DIGITS, MAX_DIGITS = 7, 19
_CONTEXT = 24  # characters before a number that may say what it is
_SEPARATOR = r"[ \t\r\n\-.·•‐-―－_()/*,，、\u00a0\u2009\u202f\u3000]"
RUN = re.compile(rf"[0-9](?:{_SEPARATOR}{{0,3}}[0-9])*+")
"""Digits with whatever may stand between those of one number."""
_GROUP = re.compile(r"[0-9]+")
_MORE_BEFORE = re.compile(r"[0-9][-. ,:/*]$")
_MORE_AFTER = re.compile(r"[-. ,:/*][0-9]")

Group = tuple[int, int]
"""Begin and end of adjacent digits."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Groups of digits that may be one number, and what stands around them."""

    digits: str
    sizes: tuple[int, ...]
    between: frozenset[str]
    before: str
    after: str

    @classmethod
    def of(cls, text: str, groups: list[Group]) -> Self:
        """The candidate that these groups are."""
        begin, end = groups[0][0], groups[-1][1]
        return cls(
            digits="".join(text[at:until] for at, until in groups),
            sizes=tuple(until - at for at, until in groups),
            between=frozenset(text[one[1] : other[0]] for one, other in pairwise(groups)),
            before=text[max(begin - _CONTEXT, 0) : begin],
            after=text[end : end + 2],
        )

    @property
    def bare(self) -> bool:
        """Whether nothing stands between the digits."""
        return len(self.sizes) == 1

    @property
    def singly(self) -> bool:
        """Whether something stands between all digits."""
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
        """Whether they may be a date."""
        return self.sizes[:3] in {(4, 2, 2), (2, 2, 4), (4, 1, 2), (4, 2, 1)} or (
            self.bare and self.digits[:2] in {"19", "20"} and self.digits[4:6] <= "12" and self.digits[6:8] <= "31"
        )


def groups_of(text: str, run: re.Match[str]) -> list[Group]:
    """The groups of a run."""
    return [group.span() for group in _GROUP.finditer(text, *run.span())]


def possible_ends(groups: list[Group], first: int) -> list[int]:
    """Where a number that begins with this group may end, the longest first."""
    digits, found = 0, []
    for last in range(first, min(first + MAX_DIGITS, len(groups))):
        digits += groups[last][1] - groups[last][0]
        if digits > MAX_DIGITS:
            break
        if digits >= MIN_DIGITS:
            found.append(last)
    return found[::-1]
