"""AsyncAPI of all topics: as the code says, and valid by the official parser."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from moderation_service.settings import KafkaSettings
from scripts.asyncapi import FILE, asyncapi
from tests.conftest import skip_or_fail

PARSER = "@asyncapi/parser@3.6.6"
CHECK = """
import { readFileSync } from 'node:fs'
import { Parser } from '@asyncapi/parser'
const [file] = process.argv.slice(2)
const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'), { source: file })
for (const found of diagnostics) console.log(found.path.join('.'), found.message)
if (!document) process.exit(1)
"""


def test_it_is_what_the_code_says() -> None:
    assert asyncapi() == FILE.read_text(encoding="utf-8"), "run: make reference"


def test_every_topic_of_the_settings_is_there() -> None:
    fields = KafkaSettings.model_fields
    addresses = {channel["address"] for channel in yaml.safe_load(asyncapi())["channels"].values()}
    assert addresses == {fields[name].default for name in fields if name.endswith("_topic")}


@pytest.fixture(scope="module")
def check() -> Path:
    """The official parser as a script, installed once into .cache."""
    if not shutil.which("npm"):
        skip_or_fail("npm is missing")
    folder = FILE.parents[2] / ".cache" / "asyncapi"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "node_modules/@asyncapi/parser").is_dir():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", PARSER]
        subprocess.run(command, cwd=folder, check=True, timeout=150)
    (folder / "check.mjs").write_text(CHECK)
    return folder / "check.mjs"


def test_the_official_parser_finds_no_fault(check: Path, tmp_path: Path) -> None:
    parsed = subprocess.run(["node", check, FILE], capture_output=True, text=True, check=False)
    assert (parsed.returncode, parsed.stdout) == (0, ""), parsed.stderr
    shutil.copytree(FILE.parent / "schemas", tmp_path / "schemas")
    wrong = tmp_path / FILE.name
    wrong.write_text(FILE.read_text().replace("post.schema.json", "toast.schema.json"))
    assert subprocess.run(["node", check, wrong], capture_output=True, check=False).returncode == 1
