"""A worker with the fake judge as a process of its own: `python worker_process.py SETTINGS_JSON`; SIGTERM drains it.

A post with the text DEADLY kills the process that judges it.
"""

import asyncio
import json
import os
import random
import signal
import sys

from moderation_service.contracts.post import Post
from moderation_service.settings import KafkaSettings, LoggingSettings
from moderation_service.stream.processor import RecordProcessor
from moderation_service.stream.worker import Worker
from moderation_service.telemetry import logs
from moderation_service.telemetry.health import Health
from tests.stream.support import FakeJudge

LONGEST_S = 0.2
DEADLY = "deadly"


async def _take_a_while(post: Post) -> None:
    if post.text == DEADLY:
        sys.stderr.write("judging a deadly post\n")
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(random.uniform(0, LONGEST_S))


async def main() -> None:
    logs.configure(LoggingSettings(format="json"))
    settings = KafkaSettings.model_validate(json.loads(sys.argv[1]))
    stop = asyncio.Event()
    for received in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(received, stop.set)
    await Worker(settings, RecordProcessor(settings, FakeJudge(before=_take_a_while)), Health(started=True)).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
