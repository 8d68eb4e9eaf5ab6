"""What `pack.yaml` says of categories that the pack leaves out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from moderation_service.policies.coverage import CategoryCoverage, coverage
from moderation_service.policies.pack import load_pack

REASON = "not_covered:\n  openai:\n    hate: this market has no comments\n    illicit/violent: left over\n"
GROUPS = "should be groups of category: reason under ailuminate, dsa, openai"


def found(folder: Path, category: str) -> CategoryCoverage:
    (one,) = (one for one in coverage(load_pack(folder)) if one[:2] == ("openai", category))
    return one


def test_a_category_is_covered_or_left_out_with_its_reason_or_without(folder: Path) -> None:
    (folder / "pack.yaml").write_text(REASON, encoding="utf-8")
    assert found(folder, "illicit/violent")[2:] == (("weapon_sale",), None)  # what covers it is the stronger
    assert found(folder, "hate")[2:] == ((), "this market has no comments")
    assert found(folder, "sexual")[2:] == ((), None)


def test_reasons_leave_the_digest(folder: Path) -> None:
    before = load_pack(folder).digest
    (folder / "pack.yaml").write_text(REASON, encoding="utf-8")
    assert load_pack(folder).digest == before


def test_a_policy_in_shadow_covers_nothing(folder: Path) -> None:
    file = folder / "weapon_sale.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("mode: enforce", "mode: shadow"), encoding="utf-8")
    assert found(folder, "illicit/violent").policies == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("covered: {}", "1: covered: is not a field of a pack; known here are default_language and not_covered"),
        ("not_covered: [hate]", f"1: not_covered: ('hate',) cannot stand here; {GROUPS}"),
        ("not_covered: {osprey: {hate: why}}", f"1: not_covered.osprey: {{'hate': 'why'}} cannot stand here; {GROUPS}"),
        (
            "not_covered:\n  openai:\n    hates: why",
            "3: not_covered.openai.hates: is not a category of the taxonomy; did you mean hate?",
        ),
        (
            "not_covered:\n  openai:\n    hate: null",
            "3: not_covered.openai.hate: has no reason; should say in words why no policy covers it",
        ),
    ],
)
def test_a_wrong_pack_file_is_refused_with_its_line_and_advice(
    folder: Path, refusal: Callable[[], str], text: str, message: str
) -> None:
    (folder / "pack.yaml").write_text(text, encoding="utf-8")
    assert refusal() == f"pack.yaml:{message}"
