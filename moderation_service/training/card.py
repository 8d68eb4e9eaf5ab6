"""An adapter's card: what it was made from, how, and what it is worth; `card.json` and `README.md`."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from moderation_service.engine.local.adapter import CARD

Card = dict[str, Any]


def write_json(folder: Path, card: Card) -> None:
    """Write what the engine checks."""
    (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write(folder: Path, card: Card) -> None:
    """Write both, in the place of PEFT's own README."""
    write_json(folder, card)
    environment = Environment(
        loader=PackageLoader("moderation_service.training", "templates"),
        autoescape=False,  # noqa: S701 - Markdown, of names and numbers of our own
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("adapter.md.jinja").render(card)
    (folder / "README.md").write_text(page, encoding="utf-8")
