"""Names that a stranger knows: one meaning each, and the field's standard terms."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "moderation_service"
BANNED_MODULES = {
    *("lane", "ledger", "at_work", "arrived", "finished", "telling", "intake", "membership", "start"),
    *("panel", "turns", "duplicates", "findings", "sealing", "recorded_model", "file_run", "reach", "closing"),
    *("quiet", "follow", "again", "names", "sniff", "patience", "seats", "turn", "parts", "arrivals", "trouble"),
    *("fits", "silu", "patches", "writer", "thread", "served", "together", "wire", "outcome", "backdrop", "inputs"),
    *("headlines", "newest", "desk", "maps", "block"),
}
BANNED_NAMES = re.compile(
    r"\b(Cutter|Spans|KeptRow|Gap|Written|Scored|SentImage|ReadsAhead|PostInputs|line_up|laid_over|tails|"
    r"Fleet|Lane|Ledger|AtWork|Arrived|Panel|Turns|Duplicates|Findings|Sealer|Patient|Seats|Telling|Elsewhere|Desk|"
    r"Newest|adrift|cache_entries|unjudged_hours|views_sample|views_margin|acknowledged_losses|dead_letter_share)\b|(?i:picture)"
)


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def test_no_two_public_classes_share_a_name() -> None:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_modules_have_the_names_of_the_field() -> None:
    assert [str(path) for path in modules() if path.stem in BANNED_MODULES] == []


def test_no_name_is_of_the_dialect_that_was() -> None:
    used = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        for name in (
            getattr(node, "name", None),
            getattr(node, "id", None),
            getattr(node, "attr", None),
            getattr(node, "arg", None),
        )
        if isinstance(name, str) and BANNED_NAMES.search(name)
    }
    assert used == set()
