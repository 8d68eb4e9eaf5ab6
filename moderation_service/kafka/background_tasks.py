"""Work-around for aiokafka's background tasks: one that has ended is noticed, for aiokafka polls on without it.

A consumer whose fetcher has died finds nothing for ever, and raises nothing: https://github.com/aio-libs/aiokafka/issues/983
(aiokafka 0.14).
"""

from typing import Any

from aiokafka import AIOKafkaConsumer

_TASKS = {
    "fetcher": ("_fetcher", "_fetch_task"),
    "group coordinator": ("_coordinator", "_coordination_task"),
    "metadata": ("_client", "_sync_task"),
}


def ended_task(consumer: AIOKafkaConsumer) -> str | None:
    """Which task of a started consumer has ended, and by what error; None while all of them run."""
    for name, (owner, attribute) in _TASKS.items():
        task: Any = getattr(getattr(consumer, owner, None), attribute, None)
        if task is not None and task.done():
            error = None if task.cancelled() else task.exception()
            cause = error and (error.__cause__ or error)
            return f"{name}: {f'{type(cause).__name__}: {cause}' if cause else 'ended without an error'}"
    return None
