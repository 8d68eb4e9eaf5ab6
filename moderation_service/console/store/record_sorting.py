"""Records of the three topics, sorted into what is to be written and what is to be erased. Pure, and off the loop."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from moderation_service.console.store.posts import post_row
from moderation_service.console.store.verdicts import verdict_row
from moderation_service.contracts.base import is_invalid_json
from moderation_service.contracts.post import read_post
from moderation_service.contracts.registry_frame import unframed_key
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Poison
from moderation_service.settings import KafkaSettings

_NUMBERS = range(-(2**63), 2**63)  # that both databases keep


class StoredRecord(Protocol):
    """What is read of Kafka's."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


@dataclass(slots=True)
class Arrivals:
    """Of some records in order. What is erased is erased first: what came after it in its partition is in the rows."""

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    deleted_posts: set[str] = field(default_factory=set)
    deleted_verdicts: set[str] = field(default_factory=set)
    refused: list[tuple[StoredRecord, str]] = field(default_factory=list)  # with the reason, a bounded word
    ends: dict[tuple[str, int], int] = field(default_factory=dict)  # by topic and partition the next offset


def arrivals(records: Iterable[StoredRecord], kafka: KafkaSettings) -> Arrivals:
    """Sort them. A record that is none of ours is `refused`, and never raises."""
    found, now = Arrivals(), datetime.now(UTC)
    for record in records:
        found.ends[record.topic, record.partition] = record.offset + 1
        try:
            _sort(record, found, kafka, now)
        except Poison as poison:
            found.refused.append((record, poison.reason))
        except ValidationError as error:
            found.refused.append((record, "not_json" if is_invalid_json(error) else "wrong_schema"))
    return found


def _sort(record: StoredRecord, found: Arrivals, kafka: KafkaSettings, now: datetime) -> None:
    if record.value is None:
        _erase(record, found, kafka)
    elif record.topic == kafka.output_topic:
        verdict = Verdict.model_validate_json(record.value)
        if verdict.post_revision not in _NUMBERS:
            raise Poison("wrong_schema", "post_revision is not a number of 64 bits")
        found.verdicts.append(verdict_row(verdict, now))
    elif record.topic in kafka.input_topics:
        found.posts.append(post_row(read_post(record.value), record.value, now))
    else:
        review = Review.model_validate_json(record.value)
        if review.post_revision not in _NUMBERS:
            raise Poison("wrong_schema", "post_revision is not a number of 64 bits")
        found.reviews.append(review)


def _erase(record: StoredRecord, found: Arrivals, kafka: KafkaSettings) -> None:
    """A null deletes its key: the post on the input topic, its verdicts on the output topic."""
    if record.key is None or record.topic == kafka.review_topic:
        raise Poison("no_value", "a null value deletes nothing here")
    try:
        post_id = unframed_key(record.key).decode()
    except UnicodeDecodeError:
        raise Poison("wrong_key", "the key is not UTF-8") from None
    if record.topic == kafka.output_topic:
        found.deleted_verdicts.add(post_id)
        found.verdicts = [row for row in found.verdicts if row["post_id"] != post_id]
    else:
        found.deleted_posts.add(post_id)
        found.posts = [row for row in found.posts if row["post_id"] != post_id]
