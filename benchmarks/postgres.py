"""A PostgreSQL cluster of our own, for tests and benchmarks: on a free port, and nothing of it is left."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from moderation_service.bench.local_kafka import free_port
from moderation_service.errors import Misconfigured

USER = "postgres"
_DEBIAN = Path("/usr/lib/postgresql")  # where its package keeps them, off the path
_READY_S = 60.0


def missing_postgres() -> str | None:
    """Why a cluster can't be started here, or None."""
    return None if programs() else "initdb not found (Debian: apt-get install postgresql)"


@contextmanager
def local_postgres(settings: Sequence[str] = ()) -> Iterator[str]:
    """A server until the block is left; gives its address without a database, postgresql://USER@HOST:PORT.

    `settings` are those of postgresql.conf, NAME=VALUE. Raises Misconfigured where it does not start.
    """
    tools = programs()
    if tools is None:
        raise Misconfigured(missing_postgres() or "")
    with tempfile.TemporaryDirectory(prefix="postgres-") as scratch:
        prefix: list[str] = []
        if os.geteuid() == 0:  # neither program runs as root
            shutil.chown(scratch, USER)
            prefix = ["runuser", "-u", USER, "--"]
        data, port = f"{scratch}/data", free_port()
        initdb = [*prefix, f"{tools}/initdb", "-D", data, "-U", USER, "-E", "UTF8", "--locale=C", "-A", "trust", "-N"]
        made = subprocess.run(initdb, check=False, capture_output=True, text=True, cwd=scratch)  # noqa: S603 - ours
        if made.returncode:
            msg = f"initdb: {made.stderr.strip()[-500:]}"
            raise Misconfigured(msg)
        given = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={scratch}", *settings]
        options = [part for setting in given for part in ("-c", setting)]
        log = Path(scratch) / "log"
        with log.open("wb") as out:
            command = [*prefix, f"{tools}/postgres", "-D", data, *options]
            server = subprocess.Popen(command, stdout=out, stderr=out, cwd=scratch)  # noqa: S603 - as above
        try:
            _wait_until_ready(server, log)
            yield f"postgresql://{USER}@127.0.0.1:{port}"
        finally:
            stop = [*prefix, f"{tools}/pg_ctl", "stop", "-D", data, "-m", "immediate", "-w"]
            subprocess.run(stop, check=False, capture_output=True, cwd=scratch)  # noqa: S603 - as above
            server.wait()


def programs() -> Path | None:
    """The folder of `initdb`, `postgres` and `pg_dump`; None where they are not installed."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    return next(
        (folder for folder in sorted(_DEBIAN.glob("*/bin"), reverse=True) if (folder / "initdb").exists()), None
    )


def _wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while "database system is ready to accept connections" not in log.read_text(errors="replace"):
        if server.poll() is not None or time.monotonic() > deadline:
            msg = f"postgres does not start: {log.read_text(errors='replace').strip()[-500:]}"
            raise Misconfigured(msg)
        time.sleep(0.05)
