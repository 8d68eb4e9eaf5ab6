"""Records that go out together or not at all, for commands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext

from aiokafka.errors import KafkaError, ProducerFenced

from moderation_service.errors import Fatal
from moderation_service.kafka.clients import producer
from moderation_service.kafka.force_close import close
from moderation_service.kafka.topic_io import Record, send
from moderation_service.kafka.wait_for_broker import reach
from moderation_service.settings import KafkaSettings

_CLOSE_S = 5.0


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ProducerFenced:
        msg = "another was started elsewhere, and this one ends; what it wrote so far stays"
        raise Fatal(msg) from None
    except (KafkaError, TimeoutError) as error:
        msg = f"records were not written: {error or type(error).__name__}"
        raise Fatal(msg) from error


@asynccontextmanager
async def transactions(
    settings: KafkaSettings, name: str | None
) -> AsyncIterator[Callable[[Sequence[Record]], Awaitable[None]]]:
    """Give what writes records in one transaction; who enters with the same `name` later fences us.

    Without a name it is no transaction, and some of the records may be written where others fail.

    Entering and writing raise Fatal where the broker is away, refuses a record, or we are fenced.
    """
    await reach(settings)
    sender = producer(settings, name)

    async def write(records: Sequence[Record]) -> None:
        with _told():
            # two clocks: when the inner one runs out the transaction is aborted, and that may hang as well
            async with (
                asyncio.timeout(settings.request_timeout_s + _CLOSE_S),
                asyncio.timeout(settings.request_timeout_s),
                sender.transaction() if name else nullcontext(),
            ):
                for acknowledged in [await send(sender, record) for record in records]:
                    await acknowledged

    try:
        with _told():
            async with asyncio.timeout(settings.request_timeout_s):
                await sender.start()
        yield write
    finally:
        await close(sender, _CLOSE_S)
