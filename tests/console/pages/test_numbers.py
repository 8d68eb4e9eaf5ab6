"""Numbers as languages write them."""

from collections.abc import Callable
from typing import Any

import pytest
from babel import Locale

from moderation_service.console.pages.numbers import change, milliseconds, number, score, share


@pytest.mark.parametrize(
    ("written", "value", "english", "german", "spanish"),
    [
        (number, 1234, "1,234", "1.234", "1.234"),
        (number, 1_234_567.0, "1,234,567", "1.234.567", "1.234.567"),
        (score, 0.5, "0.50", "0,50", "0,50"),
        (share, None, "–", "–", "–"),
        (share, 0, "0%", "0\xa0%", "0\xa0%"),
        (share, 0.07, "7.0%", "7,0\xa0%", "7,0\xa0%"),
        (share, 0.714, "71%", "71\xa0%", "71\xa0%"),
        (change, -0.0123, "-1.2", "-1,2", "-1,2"),
        (change, 0.2, "+20.0", "+20,0", "+20,0"),
        (milliseconds, None, "–", "–", "–"),
        (milliseconds, 24.56, "24.6 ms", "24,6 ms", "24,6 ms"),
        (milliseconds, 999.9, "1,000 ms", "1.000 ms", "1.000 ms"),
        (milliseconds, 61_234, "61.2 s", "61,2 s", "61,2 s"),
    ],
)
def test_a_number_is_written_as_the_language_does(
    written: Callable[..., str], value: Any, english: str, german: str, spanish: str
) -> None:
    assert [written(value, Locale(language)) for language in ("en", "zh", "de", "es")] == [
        english,
        english,
        german,
        spanish,
    ]
