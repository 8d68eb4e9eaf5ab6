"""The tutorials and the README run as they stand: the shell commands of a page, in their order, in a fresh folder."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from moderation_service.bench.local_kafka import free_port
from tests.conftest import skip_or_fail
from tests.line.service import environment, kafka_settings

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"  # exits with (\d+)$")
STAYS_UP = {  # and what it says once it is ready
    "make serve": "API key:",
    "moderation run": "partitions assigned",
    "moderation verdicts --follow": '"decision"',
}
NOT_RUN = {
    "make demo": "the tutorial on verdicts runs it",
    "make test": "this test is a part of it",
    "moderation model check": "tests/deploy/test_model_check.py runs it",
    "moderation policies test policies/starter": "the tutorial on policies runs it on a smaller pack",
}
NEEDS_JUPYTER = {
    "python -m ensurepip && python -m pip install jupyterlab": "no test installs anything",
    "jupyter lab docs/tutorials/proof-of-concept.ipynb": "tests/line/test_notebook.py runs the notebook",
}


pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, tmp_path: Path) -> None:
    if shutil.which("jq") is None:
        skip_or_fail("no jq: apt-get install jq")
    port = str(free_port())
    here = {
        "127.0.0.1:8080": f"127.0.0.1:{port}",
        "export KEY=moderation_...": f"export KEY=$(sed -n 's/^API key: *//p' {log('make serve')})",
    }
    follow(page, fresh(tmp_path), here, environment(PORT=port), NEEDS_JUPYTER)


def test_the_commands_of_the_readme_run_on_a_kafka(kafka: str, tmp_path: Path) -> None:
    here = {
        "MODERATION_KAFKA__BOOTSTRAP_SERVERS=kafka:9092": f"MODERATION_KAFKA__BOOTSTRAP_SERVERS={kafka}",
        "export MODERATION_ENGINE__MODEL=/models/GLM-4.6V-Flash": ":",  # the bundled one
        "/etc/moderation/policies": "policies/starter",
        "--replication 3": "--replication 1",
    }
    shutil.copy(ROOT / "tests/line/posts.jsonl", fresh(tmp_path))
    follow(ROOT / "README.md", tmp_path, here, environment(kafka_settings(kafka)), NOT_RUN)


def follow(
    page: Path, folder: Path, here: Mapping[str, str], env: Mapping[str, str], left_out: Mapping[str, str] | None = None
) -> None:
    """Do what the page says, with other words where this is another place; it prints what its `text` blocks show."""
    text = page.read_text(encoding="utf-8")
    for written, replaced in here.items():
        text = text.replace(written, replaced)
    lines = ["set -euo pipefail"]
    for block in BLOCK.finditer(text):
        if block["file"]:
            lines += [f"cat > {block['file']} <<'PAGE'", f"{block['body']}PAGE"]
        elif block["kind"] == "sh":
            lines += [step(line) for line in block["body"].splitlines() if command(line) not in (left_out or {})]
    process = subprocess.Popen(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env={**env, "COLUMNS": "160", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate()[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # what stays up
    assert process.returncode == 0, said
    for block in BLOCK.finditer(text):
        if block["kind"] == "text":
            assert [line for line in block["body"].splitlines() if not is_in(line, said)] == [], said


def fresh(folder: Path) -> Path:
    """The project as a clone has it, by links, with what the first `make` leaves; the policies are a copy."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name != "policies":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "policies", folder / "policies")
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (folder / ".venv/ready").touch()
    return folder


def command(line: str) -> str:
    return re.sub(r"\s+# .*$", "", line)


def step(line: str) -> str:
    """The line; it waits for what stays up, and is checked to fail where the page says so."""
    name = command(line)
    if (ready := STAYS_UP.get(name)) is not None:
        until = f"until grep -q '{ready}' {log(name)}; do kill -0 $!; sleep 0.1; done"
        return f"{name} > {log(name)} 2>&1 &\n{until}"
    if found := EXITS.search(line):
        return f"code=0; {name} || code=$?; [ $code = {found[1]} ]"
    return line


def log(name: str) -> str:
    return f"{name.replace(' ', '-')}.log"


def is_in(line: str, said: str) -> bool:
    """Whether a line that a page shows was printed: `…` is anything, and a table's borders are as spaces."""
    words = (re.escape(word).replace("…", ".*?") for word in line.replace("│", " ").split())
    return re.search(r"[\s│]+".join(words), said) is not None
