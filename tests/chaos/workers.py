"""Workers as they are deployed: `moderation run`, a process each, configured by the environment."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from moderation_service.settings import KafkaSettings, shipped_policies
from tests.stream.processes import Process

POLICY = "weapon_sale.yaml"
READY_S = 120.0
EXIT_S = 20.0


def environment(kafka: KafkaSettings, engine_url: str, folder: Path, **more: str) -> dict[str, str]:
    """One policy, the harness's engine, and ports that nobody else has."""
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    shutil.copy(shipped_policies() / POLICY, policies / POLICY)
    changed = kafka.model_dump(mode="json", exclude_defaults=True)
    found = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
    return {
        **found,
        "OMP_NUM_THREADS": "1",
        "MODERATION_OPS__PORT": "0",
        "MODERATION_OPS__HOST": "127.0.0.1",
        "MODERATION_POLICIES__PATH": str(policies),
        "MODERATION_ENGINE__KIND": "openai",
        "MODERATION_ENGINE__BASE_URL": engine_url,
        "MODERATION_ENGINE__MODEL": "judge",
        "MODERATION_ENGINE__REVISION": "chaos",
        "MODERATION_ENGINE__REQUEST_TIMEOUT_S": "5",
        "MODERATION_JUDGING__CALIBRATION": "none",
        "MODERATION_JUDGING__EXPLAIN": "template",
        "MODERATION_LOGGING__FORMAT": "json",
        **{f"MODERATION_KAFKA__{name.upper()}": _text(value) for name, value in changed.items()},
        **more,
    }


class Worker(Process):
    """One `moderation run`; its log is a file of JSON lines."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        log.unlink(missing_ok=True)  # a kept folder may have an earlier run's
        super().__init__([sys.executable, "-m", "tests.chaos.service_process"], env, log)

    async def ready(self, patience_s: float = READY_S) -> None:
        """Wait until it has partitions, or nothing to do. Raises AssertionError where it ends or is not in time."""
        async with asyncio.timeout(patience_s):
            while not self.logged("partitions assigned"):
                assert self.running, self.tail()
                await asyncio.sleep(0.1)

    def logged(self, event: str) -> int:
        """In how many lines it stands."""
        return self.log.read_text(errors="replace").count(f'"message": "{event}"')

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def port(self) -> int:
        """Of the probes and metrics."""
        for line in self.log.read_text(errors="replace").splitlines():
            if '"ops port open"' in line:
                return int(json.loads(line)["port"])
        msg = "no ops port yet"
        raise AssertionError(msg)

    async def not_ready(self) -> list[str]:
        """The reasons that its readiness probe gives."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port()}/readyz") as answer,
        ):
            reasons: list[str] = (await answer.json())["reasons"]
            return reasons

    async def stopped(self) -> int:
        """SIGTERM, and the exit code. Raises AssertionError where it does not end."""
        self.send(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self.wait, EXIT_S)
        except subprocess.TimeoutExpired:
            msg = f"a worker did not stop in {EXIT_S} s: {self.tail()}"
            raise AssertionError(msg) from None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
