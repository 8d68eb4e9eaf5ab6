"""The documentation as a site."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "zensical.toml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / CONFIG.name).write_text(CONFIG.read_text().replace(".cache/site", "site"))
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert (built.returncode, "No issues found" in built.stdout) == (0, True), built.stdout
    return folder / "site"


def test_every_link_leads_to_a_file_of_the_site(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for address in re.findall(r'(?:href|src)="?([^"\s>]+)', page.read_text()):
            if not (named := urlsplit(address)).scheme and named.path:
                target = page.parent / unquote(named.path)
                assert target.is_file() or (target / "index.html").is_file(), f"{page.relative_to(site)}: {address}"


def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    for page in site.rglob("*.html"):
        loading = re.findall(r"<(?:script|img|iframe|source|link)\b[^>]*>", page.read_text())
        assert not [tag for tag in loading if re.search(r'(?:src|href)="?(?:https?:)?//', tag)], page


def test_every_page_is_in_the_navigation() -> None:
    def leaves(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        return {leaf for part in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(part)}

    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert leaves(tomllib.loads(CONFIG.read_text())["project"]["nav"]) == pages
