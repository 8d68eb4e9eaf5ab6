"""Numbers as the reader's language writes them, by Unicode's CLDR: `0.5`, `0,5`; `1,234`, `1.234`; `7%`, `7 %`."""

from babel import Locale
from babel.numbers import format_decimal, format_percent

_NONE = "–"


def number(value: float, locale: Locale) -> str:
    """A whole number."""
    return format_decimal(round(value), locale=locale)


def score(value: float, locale: Locale) -> str:
    """A score, a threshold or a coefficient, with two digits."""
    return format_decimal(value, "0.00", locale)


def share(value: float | None, locale: Locale) -> str:
    """A share as a percentage; a dash where there is none."""
    if value is None:
        return _NONE
    pattern = locale.percent_formats[None].pattern
    if 0 < value < 0.1:  # noqa: PLR2004 - small shares need a digit more
        pattern = pattern.replace("#0", "#0.0")
    return format_percent(value, pattern, locale)


def change(value: float, locale: Locale) -> str:
    """A change of a share, in percentage points."""
    return format_decimal(value * 100, "+0.0;-0.0", locale)


def milliseconds(value: float | None, locale: Locale) -> str:
    """A duration with three digits and the unit that suits it."""
    if value is None:
        return _NONE
    in_unit, unit = (value / 1000, "s") if value >= 1000 else (value, "ms")  # noqa: PLR2004
    return f"{format_decimal(float(f'{in_unit:.3g}'), locale=locale)} {unit}"
