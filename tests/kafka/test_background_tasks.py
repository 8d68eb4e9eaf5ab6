"""A task of aiokafka that has ended is named, with what ended it."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import KafkaError

from moderation_service.kafka.aiokafka_workarounds import ended_task


async def _fails() -> None:
    msg = "unexpected"
    raise KafkaError(msg) from AssertionError("no position")


async def _returns() -> None:
    return


async def _goes_on() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("routine", "told"),
    [
        (_fails, "fetcher: AssertionError: no position"),
        (_returns, "fetcher: ended without an error"),
        (_goes_on, None),
    ],
)
async def test_what_has_ended_is_named(routine: object, told: str | None) -> None:
    task = asyncio.create_task(routine())  # type: ignore[operator]
    await asyncio.sleep(0)
    consumer = SimpleNamespace(_fetcher=SimpleNamespace(_fetch_task=task), _coordinator=None)
    assert ended_task(consumer) == told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
