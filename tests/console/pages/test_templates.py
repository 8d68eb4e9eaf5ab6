"""The templates by themselves, without a browser."""

import pytest

from moderation_service.console.catalogues import shipped_catalogues
from moderation_service.console.pages.render import environment
from moderation_service.contracts.verdict import Thresholds

ENGLISH = environment(shipped_catalogues()["en"])


@pytest.mark.parametrize("name", sorted(ENGLISH.list_templates()))
def test_every_template_compiles(name: str) -> None:
    assert ENGLISH.get_template(name)


def test_a_policy_that_never_blocks_has_no_mark_and_says_so() -> None:
    parts = ENGLISH.get_template("_parts.html").module
    never, some = Thresholds(review=0.5, block=None), Thresholds(review=0.5, block=0.9)
    assert "never blocked by machine" in parts.limits(never)  # type: ignore[attr-defined]
    assert "block from 0.90" in parts.limits(some)  # type: ignore[attr-defined]
    assert ("heavy" in parts.bar(1.0, never), "heavy" in parts.bar(1.0, some)) == (False, True)  # type: ignore[attr-defined]
    assert [parts.outcome_of(1.0, one) for one in (never, some)] == ["review", "block"]  # type: ignore[attr-defined]
