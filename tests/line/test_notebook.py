"""The notebook of the proof of concept, run from top to bottom as Jupyter runs it, on sample posts and on others."""

import ast
import inspect
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moderation_service.evaluation.go_no_go import GoNoGo
from tests.conftest import skip_or_fail
from tests.console.pages.browsing import CHROMIUM, browser, missing_browser, save

NOTEBOOK = json.loads(
    (Path(__file__).parents[2] / "docs" / "tutorials" / "proof-of-concept.ipynb").read_text(encoding="utf-8")
)
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SAMPLE = 'Path(tempfile.mkdtemp(prefix="proof-of-concept-"))'
SETTINGS = ("SETTINGS = {}", "SETTINGS = {'engine': {'device': 'cpu'}}")


async def run_cells(cells: list[dict[str, Any]], names: dict[str, Any], changed: Mapping[str, str]) -> None:
    """Run code cells in `names`, with `await` at top level; `changed` stands in the place of what it names."""
    for cell in cells:
        source = "".join(cell["source"])
        for old, new in changed.items():
            source = source.replace(old, new)
        code = compile(source, cell["id"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)  # noqa: S307 - the project's own notebook
        if inspect.iscoroutine(running):
            await running


async def test_it_runs_as_it_stands_and_its_page_is_one_of_a4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    await run_cells(CODE, names, {SAMPLE: f"Path({str(tmp_path)!r})", SETTINGS[0]: SETTINGS[1]})
    said = capsys.readouterr().out
    assert "111 posts, 8 policies" in said
    assert "left out" not in said
    assessment = names["assessment"]
    assert assessment.violating + assessment.harmless == len(names["run"].judged) == 111
    assert assessment.result is GoNoGo.TOO_FEW_LABELS
    assert {one.policy for one in assessment.policies if one.result is GoNoGo.GO} >= {"weapon_display"}
    combined = next(one for one in assessment.violations if one.attribution == "combined")
    assert combined.found["joint"] > 20 > combined.found["either"] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{assessment.violating} violate" in page
    assert "Display of weapons" in page
    assert "worst error" in (tmp_path / "figures.html").read_text(encoding="utf-8")
    await print_page(page, Path(os.environ.get("CONSOLE_IMAGES", tmp_path)) / "proof-of-concept.png")


async def print_page(page: str, image: Path) -> None:
    """It takes one sheet of A4; `image` shows it."""
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    async with browser() as chromium:
        window = await chromium.new_page(viewport={"width": 794, "height": 1000})
        await window.set_content(page)
        printed = await window.pdf(prefer_css_page_size=True, print_background=True)
        shown = await window.screenshot(full_page=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    save(shown, image)


async def test_a_wrong_row_is_named_and_policies_without_a_label_are_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "knife.png")
    (tmp_path / "labels.csv").write_text(
        "post_id,text,file,language,label:weapon_sale,label:doxxing\n"
        "p-1,DM me for the price,knife.png,en,yes,\n"
        "p-2,A walk by the lake,,en,no,no\n"
        "p-3,A walk,gone.png,en,no,\n"
        "p-4,A walk,,en,maybe,\n",
        encoding="utf-8",
    )
    names: dict[str, Any] = {}
    read = next(number for number, cell in enumerate(CODE) if "load(FOLDER" in "".join(cell["source"]))
    own = {SAMPLE: f"Path({str(tmp_path)!r})", "IS_SAMPLE = True": "IS_SAMPLE = False"}
    await run_cells(CODE[: read + 1], names, own)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"left out: {tmp_path}/labels.csv:4: image gone.png: ")
    assert said[1].startswith(f"left out: {tmp_path}/labels.csv:5: labels.weapon_sale: 'maybe' is not a label")
    assert said[2:] == ["2 posts, 2 policies: doxxing, weapon_sale"]
    assert {policy.id for policy in names["pack"].policies} == {"weapon_sale", "doxxing"}


def test_no_output_is_kept_in_it_and_each_cell_has_an_id() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
