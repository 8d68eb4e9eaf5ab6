"""The pages speak of what is there: links, headings, files and commands."""

import re
import runpy
import subprocess
from functools import cache
from pathlib import Path

import pytest

from moderation_service.cli import cli
from moderation_service.settings import BareSettings
from tests.ops.names import declared

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.ipynb"))]
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_COMMAND = re.compile(r"(?<!-n )(?<![\w/.-])moderation ([a-z]\w+)(?: ([a-z]\w+))?")
_FILE = re.compile(r"`(?:pytest )?((?:[\w.-]+/)*[\w-]+\.(?:py|sh|md|svg|yaml|yml|toml|json|html))`")
_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@cache
def headings(page: Path) -> set[str]:
    """The anchors that a page has, as GitHub names them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@cache
def paths() -> list[str]:
    """Every file that git knows."""
    return subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


@every_page
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for name, heading in _LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), name
        assert not heading or heading in headings(target), f"{name}#{heading}"


@every_page
def test_a_file_that_is_named_is_there(page: Path) -> None:
    named = _FILE.findall(page.read_text(encoding="utf-8"))
    ends = {path.split("/", cut)[-1] for path in paths() for cut in range(path.count("/") + 1)}
    assert {name for name in named if "/" in name or name.startswith("test_")} - ends == set()


@every_page
def test_a_command_that_is_named_is_there(page: Path) -> None:
    for code in _CODE.findall(page.read_text(encoding="utf-8")):
        for name, second in _COMMAND.findall(code):
            assert name in cli, f"moderation {name}"
            groups = set(cli[name]) - {"--help", "-h", "--version"}
            assert not (groups and second) or second in groups, f"moderation {name} {second}"
        targets = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", code, re.MULTILINE)) <= set(" ".join(targets).split())
        for module in re.findall(r"python -m ((?:benchmarks|demo_model|tests)(?:\.[a-z_]+)*)", code):
            path = module.replace(".", "/")
            assert {f"{path}.py", f"{path}/__main__.py"} & set(paths()), module


@every_page
def test_a_setting_or_metric_that_is_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sections = {name: type(section).model_fields for name, section in BareSettings()}
    for section, field in re.findall(rf"`({'|'.join(sections)})\.([a-z_]+)\b", text):
        assert field in sections[section] or field in {"md", "py", "taken"}, f"{section}.{field}"  # an audit action
    for section, field in re.findall(r"\bMODERATION_([A-Z]+(?:_[A-Z]+)*)__([A-Z_]+)\b", text):
        fields = sections[section.lower()]
        assert {field.lower(), field.lower().removesuffix("_file")} & fields.keys(), f"{section}__{field}"
    metrics = {*declared(), *(name.removesuffix("_bucket") for name in declared())}
    assert (
        set(re.findall(r"`(moderation_[a-z_]+[a-z])\b(?![/{]\w*,)", text)) - metrics - {"moderation_service"} == set()
    )


def test_the_tree_of_the_readme_is_complete() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The tree")[2].split("```")[1]
    folders = {path.split("/")[0] for path in paths() if "/" in path}
    assert set(re.findall(r"^(\w+)/", tree, re.MULTILINE)) == {name for name in folders if not name.startswith(".")}
    rooms = {path.split("/")[1] for path in paths() if path.startswith("moderation_service/") and path.count("/") > 1}
    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == rooms


def test_the_example_of_the_readme_judges_a_post(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(ROOT)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("block {")
