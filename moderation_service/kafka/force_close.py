"""Bounded closing of aiokafka clients: their `stop()` can hang while a broker is away, and tasks go on trying.

Works around https://github.com/aio-libs/aiokafka/issues/773 (aiokafka 0.14).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

_log = structlog.get_logger(__name__)
_SETTLE_S = 0.2
_owned: dict[asyncio.AbstractEventLoop, dict[int, list[asyncio.Task[Any]]]] = {}


async def close(client: AIOKafkaProducer | AIOKafkaConsumer, timeout_s: float) -> bool:
    """Stop a client within about `timeout_s`, by force if need be. Returns whether it stopped by itself."""
    stopping = asyncio.create_task(client.stop())
    try:
        done, _ = await asyncio.wait({stopping}, timeout=timeout_s)
    except asyncio.CancelledError:
        stopping.cancel()
        _cut(client)
        raise
    if not done:
        stopping.cancel()
    elif error := stopping.exception():
        _log.info("a Kafka client failed while closing", error=repr(error))
    elif _nothing_is_left(client):
        return True
    await _cut_and_wait(client, stopping)
    return stopping.done() and not stopping.cancelled() and stopping.exception() is None


def _nothing_is_left(client: object) -> bool:
    """Whether a producer that stopped well has no task left: its sender waits for them, unless it failed before."""
    sender = getattr(getattr(client, "_sender", None), "sender_task", None)
    return sender is not None and (sender.cancelled() or sender.exception() is None)


async def _cut_and_wait(client: object, stopping: asyncio.Task[None]) -> None:
    ended = [*_cut(client), stopping]
    await asyncio.wait(ended, timeout=_SETTLE_S)  # at once where all went well: only `stopping` is there, and done
    # a task that swallowed the first cancellation to wait for another one
    again = [task for task in ended if not task.done()]
    for task in again:
        task.cancel()
    if again:
        await asyncio.wait(again, timeout=_SETTLE_S)
    for future in (*ended, *_told_of_the_end(client)):
        if future.done() and not future.cancelled():
            future.exception()  # seen, or asyncio complains that nobody looked


def _cut(client: object) -> list[asyncio.Task[Any]]:
    """Close the connections and cancel the tasks that a client's parts began; gives the tasks."""
    parts = _parts(client)
    for part in parts:
        for connection in list(getattr(part, "_conns", {}).values()):
            connection.close()
    owned = _by_owner()
    own = [task for part in parts for task in owned.get(id(part), ())]
    for task in own:
        task.cancel()
    return own


def _parts(client: object) -> list[object]:
    """The objects of aiokafka whose coroutines run as tasks of their own."""
    names = ("client", "_client", "_sender", "_message_accumulator", "_coordinator", "_fetcher")
    return [part for name in names if (part := getattr(client, name, None)) is not None]


def _told_of_the_end(client: object) -> Iterator[asyncio.Future[None]]:
    """The futures of a producer that hold the error where it was fenced, and that nobody waits for."""
    waiter = getattr(getattr(client, "_txn_manager", None), "_transaction_waiter", None)
    if waiter is not None:
        yield waiter
    batches = getattr(getattr(client, "_message_accumulator", None), "_batches", {})
    for queue in batches.values():
        for batch in queue:
            yield batch._drain_waiter  # noqa: SLF001 - aiokafka keeps them to itself


def _by_owner() -> dict[int, list[asyncio.Task[Any]]]:
    """The tasks by the id of the object whose coroutine they run; looked for once for all that close together."""
    loop = asyncio.get_running_loop()
    if loop not in _owned:
        found = _owned[loop] = defaultdict(list)
        for task in asyncio.all_tasks():
            frame = getattr(task.get_coro(), "cr_frame", None)
            if frame is not None:
                found[id(frame.f_locals.get("self"))].append(task)
        loop.call_soon(_owned.pop, loop)
    return _owned[loop]
