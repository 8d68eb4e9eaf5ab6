"""The newest verdict of each post, as a reader of the output topic should keep them."""

from collections.abc import Iterable

from pydantic import BaseModel

from moderation_service.kafka.topic_io import read
from moderation_service.settings import KafkaSettings


class _Of(BaseModel):
    """What tells which of a post's verdicts is the newest."""

    post_revision: int


class LatestVerdicts:
    """An older revision that arrives late hides nothing; of one revision the last word counts; a null erases all."""

    def __init__(self) -> None:
        """No post is known."""
        self._kept: dict[bytes | None, tuple[int, bytes]] = {}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """The next record. Raises pydantic.ValidationError for what is no verdict."""
        if value is None:
            self._kept.pop(key, None)
            return
        revision = _Of.model_validate_json(value).post_revision
        if key not in self._kept or revision >= self._kept[key][0]:
            self._kept[key] = revision, value

    @property
    def verdicts(self) -> Iterable[bytes]:
        """One a post, as published."""
        return (value for _, value in self._kept.values())


async def newest(settings: KafkaSettings) -> LatestVerdicts:
    """Read the output topic to its present end. Raises Fatal where it can't be read."""
    found = LatestVerdicts()
    async for record in read(settings, settings.output_topic):
        found.take(record.key, record.value)
    return found
