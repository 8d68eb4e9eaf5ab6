"""Records as the consumer gives them."""

from aiokafka import ConsumerRecord


def record(
    value: bytes | None, key: bytes | None = b"k", headers: tuple[tuple[str, bytes | None], ...] = (), offset: int = 41
) -> ConsumerRecord:
    sizes = len(key or b""), len(value or b"")
    return ConsumerRecord("moderation.posts", 3, offset, 1_700_000_000_000, 0, key, value, None, *sizes, headers)
