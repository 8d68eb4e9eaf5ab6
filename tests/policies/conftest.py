"""A small right policy file, and how a changed one is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.policies.pack import load_pack

RIGHT = """\
id: weapon_sale
version: 1
title: {en: Sale of weapons, zh: 武器交易}
question:
  en: Does it sell a weapon?
  zh: 是否出售武器？
definition:
  en: A weapon is offered.
  zh: 出售武器。
scope:
  modalities: [text, image]
  surfaces: [market]
severity: 4
thresholds:
  review: 0.5
  block: 0.9
mode: enforce
dsa_category: STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS
openai_category: illicit/violent
cases:
  - name: offered
    text: DM me for the price
    surface: market
    images: [images/knife.png]
    expect: violation
    attribution: combined
  - name: weather
    text: 今天天气真好
    expect: allow
"""

Edit = Callable[[str, str], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one right policy and its image."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "knife.png").write_bytes(b"\x89PNG")
    (tmp_path / "weapon_sale.yaml").write_text(RIGHT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def refusal(folder: Path) -> Callable[[], str]:
    """Load the folder, which must be refused, and give the message without the folder's own path."""

    def load() -> str:
        with pytest.raises(Misconfigured) as refused:
            load_pack(folder)
        return str(refused.value).replace(f"{folder}/", "").replace(str(folder), "FOLDER")

    return load


@pytest.fixture
def refused_edit(folder: Path, refusal: Callable[[], str]) -> Edit:
    """Replace the one occurrence of a piece of the right file, and give the refusal."""

    def edit(old: str, new: str) -> str:
        assert RIGHT.count(old) == 1, old
        (folder / "weapon_sale.yaml").write_text(RIGHT.replace(old, new), encoding="utf-8")
        return refusal()

    return edit
