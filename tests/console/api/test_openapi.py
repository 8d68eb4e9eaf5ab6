"""The OpenAPI says all that the API answers: Schemathesis finds nothing else."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service import __version__
from moderation_service.console.api.routes import OPERATIONS
from moderation_service.judging.judge import Judge
from tests.console.api.callers import ON_SQLITE, Api, running
from tests.console.support import console_settings

pytestmark = ON_SQLITE
CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_the_document_is_there_without_a_key_and_has_every_operation(quiet_api: Api) -> None:
    async with quiet_api.caller("") as http, http.get("/openapi.json") as answer:
        document = await answer.json()
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", __version__)
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == {(operation.method, f"/v1{operation.path}") for operation in OPERATIONS}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"401", "403", "429", "503"} < operation["responses"].keys()


@pytest.mark.timeout(300)
async def test_schemathesis_finds_no_answer_that_is_not_declared(
    database: AsyncEngine, database_url: str, judge: Judge
) -> None:
    settings = console_settings(database_url, judging_backend="local", requests_per_minute=1_000_000)
    async with running(database, settings, judge) as api:
        command = ("--config-file", str(CONFIG), "run", f"{api.address}/openapi.json", "--phases", "coverage,fuzzing")
        options = ("-H", f"Authorization: Bearer {api.key}", "--no-color", "--generation-database", "none")
        run = [sys.executable, "-m", "schemathesis.cli", *command, *options]
        process = await asyncio.create_subprocess_exec(*run, stdout=PIPE, stderr=STDOUT)
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert f"Tested: {len(OPERATIONS)}" in said, said
