"""Workers as processes: started, killed, stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from moderation_service.settings import KafkaSettings

ROOT = Path(__file__).parents[2]


class Process:
    """One process of ours; what it says is added to `log`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=env)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self.running:
            self._process.send_signal(signal.SIGCONT)
            self.kill()


class WorkerProcess(Process):
    """A worker with the fake judge; its log is a file of JSON lines."""

    def __init__(self, settings: KafkaSettings, log: Path) -> None:
        command = [sys.executable, "-m", "tests.stream.worker_process", settings.model_dump_json(exclude_none=True)]
        super().__init__(command, {**os.environ, "PYTHONWARNINGS": "default"}, log)


@contextmanager
def worker_processes() -> Iterator[list[WorkerProcess]]:
    """A list to put processes in; they are gone at the end of the block."""
    processes: list[WorkerProcess] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.end()
