"""Reviewers as processes: started, listened to, killed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import to_json

from moderation_service.settings import Settings
from tests.stream.processes import Process
from tests.stream.support import eventually


class Reviewer(Process):
    """`reviewer_process`, whose words go to a file."""

    def __init__(self, settings: Settings, name: str, log: Path, *how: str) -> None:
        given = settings.model_dump(mode="json", include={"kafka", "console"}, exclude_none=True)
        given["console"]["database_url"] = settings.console.database_url.get_secret_value()
        command = [sys.executable, "-m", "tests.console.queue.reviewer_process", to_json(given).decode(), name, *how]
        super().__init__(command, {**os.environ, "PYTHONWARNINGS": "default"}, log)

    async def said(self, word: str, patience_s: float) -> None:
        """Wait until it has said so."""

        def heard() -> bool:
            if found := word in self.log.read_text(errors="replace"):
                return found
            assert self.running, self.log.read_text(errors="replace")[-3000:]
            return False

        await eventually(heard, f"{word} of {self.log.name}", patience_s)


@contextmanager
def reviewing() -> Iterator[list[Reviewer]]:
    """A list to put reviewers in; they are gone at the end of the block."""
    started: list[Reviewer] = []
    try:
        yield started
    finally:
        for one in started:
            one.end()
