"""The examples of docs/reference/api.md run as they stand there, in their order."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.api.bodies import WITHIN_S
from moderation_service.console.api.moderations import MOST_INPUTS
from moderation_service.console.api.problems import KINDS
from moderation_service.console.api.verdicts import VerdictQuery
from moderation_service.contracts.bank import Bank
from moderation_service.judging.judge import Judge
from tests.console.api.callers import ON_SQLITE, running
from tests.console.support import console_settings
from tests.line.service import environment

DOC = Path(__file__).parents[3] / "docs" / "reference" / "api.md"
NOT_TOLD = ("not_found", "wrong_method", "internal", "taken", "gone")  # in the text, or by their status alone
EXAMPLE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@ON_SQLITE
async def test_the_examples_run(database: AsyncEngine, database_url: str, judge: Judge) -> None:
    examples = EXAMPLE.findall(DOC.read_text(encoding="utf-8"))
    assert len(examples) == 7
    script = "set -eu\n" + "\n".join(
        text if kind == "bash" else f"python - <<'END'\n{text}END\n" for kind, text in examples
    )
    async with running(database, console_settings(database_url, judging_backend="local"), judge) as api:
        api.context.banks.put_bank(Bank(name="spam", action="block"))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment(MODERATION_CONSOLE__DATABASE_URL=database_url, PATH=path)
        here = script.replace("http://localhost:8080", api.address)
        process = await asyncio.create_subprocess_exec("bash", "-c", here, stdout=PIPE, stderr=STDOUT, env=env)
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert '"decision":"abstain"' in said
    assert "key:uploads/anna" in said
    assert '"note":"campaign of May"' in said


def test_the_bounds_that_the_document_tells_are_those_of_the_code() -> None:
    text = DOC.read_text(encoding="utf-8")
    page = VerdictQuery.model_json_schema()["properties"]["limit"]["maximum"]
    for bound in (f"{WITHIN_S:g} s to come", f"up to {MOST_INPUTS} texts", f"at most {page}"):
        assert bound in text
    assert set(re.findall("`([a-z_]+)`", text.partition("| status |")[2])) >= KINDS.keys() - {*NOT_TOLD}
