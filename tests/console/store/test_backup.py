"""docs/how-to/backup.md: its commands bring users back, in a database that the console opens."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import asyncpg
from sqlalchemy import insert, select

from benchmarks.postgres import programs
from moderation_service.console.store.database import open_database
from moderation_service.console.store.tables import users
from tests.contracts.examples import verdict
from tests.deploy.chart import chart
from tests.deploy.files import ROOT, pod_of

PAGE = (ROOT / "docs" / "how-to" / "backup.md").read_text(encoding="utf-8")


def with_programs() -> dict[str, str]:
    """The environment in which PostgreSQL's own programs are found."""
    return os.environ | {"PATH": f"{programs()}{os.pathsep}{os.environ['PATH']}"}


def run(program: str, url: str, folder: Path) -> None:
    """The page's command with this program, on this database."""
    (command,) = re.findall(rf"^ *({program} [^`\n]*)$", PAGE, re.MULTILINE)
    arguments = [part.replace("$DATABASE_URL", url) for part in shlex.split(command)]
    subprocess.run(arguments, cwd=folder, env=with_programs(), check=True, timeout=60)


def nightly(url: str, folder: Path) -> list[Path]:
    """What the chart's job does, with this folder as its volume; the dumps that are there then."""
    (folder / "database_url").write_text(url)
    (job,) = (each for each in chart("cpu", "backup.enabled=true") if each["kind"] == "CronJob")
    (container,) = pod_of(job)["containers"]
    (script,) = container["args"]
    script = script.replace("/etc/moderation/console", str(folder)).replace("/backup", str(folder))
    subprocess.run([*container["command"], script], env=with_programs(), check=True, timeout=60)
    return [*folder.glob("*.dump")]


async def test_a_dump_restored_into_an_empty_database_has_the_users_again(
    postgres: str, unique: str, tmp_path: Path
) -> None:
    for name in (unique, f"{unique}_again"):
        connection = await asyncpg.connect(f"{postgres}/postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
    row = {"name": "ann", "password_hash": "hash", "role": "admin", "created_at": verdict().judged_at}
    async with open_database(f"{postgres}/{unique}") as database, database.begin() as written:
        await written.execute(insert(users).values(**row))
    run("pg_dump", f"{postgres}/{unique}", tmp_path)
    run("pg_restore", f"{postgres}/{unique}_again", tmp_path)
    async with open_database(f"{postgres}/{unique}_again", migrate=False) as database, database.connect() as read:
        assert (await read.execute(select(users.c.name, users.c.role))).all() == [("ann", "admin")]


async def test_the_charts_nightly_job_makes_a_dump_and_lets_old_ones_go(
    postgres: str, unique: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(f"{postgres}/postgres")
    await connection.execute(f"CREATE DATABASE {unique}")
    await connection.close()
    async with open_database(f"{postgres}/{unique}"):
        pass
    old = tmp_path / "console-20200101T000000Z.dump"
    old.write_bytes(b"old")
    os.utime(old, (0, 0))
    (dump,) = nightly(f"{postgres}/{unique}", tmp_path)
    assert dump.name != old.name
    assert dump.read_bytes().startswith(b"PGDMP")
