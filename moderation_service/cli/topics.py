"""The commands on Kafka topics: create and check them, publish posts, print verdicts and the schemas of records."""

import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import BaseModel

from moderation_service.cli.common import PROBLEMS, Servers, SettingsFile, load, print_lines
from moderation_service.contracts.post import Post
from moderation_service.contracts.schemas import CONTRACTS, json_schema
from moderation_service.errors import Misconfigured
from moderation_service.kafka.record_sizes import size_of
from moderation_service.kafka.topic_io import Record, post_record, read
from moderation_service.kafka.topic_io import publish as publish_records
from moderation_service.kafka.topics import BROKERS_DEFAULT, PARTITIONS
from moderation_service.kafka.topics import check as differences_of_topics
from moderation_service.kafka.topics import create as create_topics
from moderation_service.media.storage import FileReader
from moderation_service.readers.input_file import root_of
from moderation_service.readers.post_files import read_posts, unread, with_images
from moderation_service.readers.rows import BadPost
from moderation_service.settings import KafkaSettings, Settings

topics = App(name="topics", help="Create and check the topics.")


@topics.command
def create(
    *,
    partitions: Annotated[int, Parameter(help="Of each topic but that of banks, which has one.")] = PARTITIONS,
    replication: Annotated[int, Parameter(help="Replicas; -1: as the brokers have it.")] = BROKERS_DEFAULT,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Create the topics that are missing; `replication -1` is the brokers' default.

    Example: `moderation topics create --partitions 12 --replication 3`
    """
    outcome = asyncio.run(create_topics(load(settings, bootstrap_servers).kafka, partitions, replication))
    print(*(f"{name}: {what}" for name, what in outcome.items()), sep="\n")
    return 0


@topics.command(name="check")
def check_topics(
    *,
    partitions: Annotated[int | None, Parameter(help="Compare the number of partitions.")] = None,
    replication: Annotated[int | None, Parameter(help="Compare the number of replicas.")] = None,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Print how the topics differ from what they should be; exits 1 if they do.

    Partitions and replicas are compared where they are given.

    Example: `moderation topics check --replication 3`
    """
    kafka = load(settings, bootstrap_servers).kafka
    differences = asyncio.run(differences_of_topics(kafka, partitions, replication))
    print(*(differences or ["the topics are as they should be"]), sep="\n")
    return PROBLEMS if differences else 0


def publish(file: Path, /, *, bootstrap_servers: Servers = None, settings: SettingsFile = None) -> int:
    """Publish the posts of a JSONL or CSV file, or of a folder, to the input topic.

    Example: `moderation publish posts.jsonl`
    """
    loaded, left_out = load(settings, bootstrap_servers), list[str]()
    print_lines("not read", unread(file))
    count = asyncio.run(publish_records(loaded.kafka, _records(loaded, file, left_out)))
    print_lines("left out", left_out)
    print(f"published {count} posts", file=sys.stderr)
    return PROBLEMS if left_out else 0


def verdicts(
    *,
    follow: Annotated[bool, Parameter(help="Go on with new ones.")] = False,
    newest: Annotated[bool, Parameter(help="One a post.")] = False,
    bootstrap_servers: Servers = None,
    settings: SettingsFile = None,
) -> int:
    """Print the verdicts on the output topic as JSON lines, from the first to the latest.

    With `--newest` only the verdict of each post's highest revision, and none of a deleted post.

    Example: `moderation verdicts --follow | jq .decision`
    """
    kafka = load(settings, bootstrap_servers).kafka
    if newest and follow:
        msg = "verdicts: --newest prints what is there now; leave out --follow"
        raise Misconfigured(msg)
    asyncio.run(_print_newest(kafka) if newest else _print_verdicts(kafka, follow=follow))
    return 0


def schema(contract: str, /) -> int:
    """Print the JSON Schema of a contract: post, verdict, review, dead-letter, escalation, bank or bank-entry.

    Example: `moderation schema post`
    """
    if contract not in CONTRACTS:
        msg = f"schema {contract}: no such contract; one of {', '.join(CONTRACTS)}"
        raise Misconfigured(msg)
    sys.stdout.write(json_schema(contract))
    return 0


def _records(settings: Settings, path: Path, left_out: list[str]) -> Iterator[Record]:
    """The posts of a file or folder as records, images on disk inside; a line to `left_out` for each other row."""
    files = FileReader(root_of(path), settings.media.max_bytes)
    for row in read_posts(path):
        post = with_images(row, files) if isinstance(row, Post) else row
        if isinstance(post, BadPost):
            left_out.append(f"{post.where}: {post.why}")
            continue
        record = post_record(settings.kafka, post)
        size, limit = size_of(record.key, record.value, record.headers), settings.kafka.max_message_bytes
        if size > limit:
            left_out.append(f"{post.post_id}: {size} bytes, over kafka.max_message_bytes {limit}")
        else:
            yield record


async def _print_verdicts(kafka: KafkaSettings, *, follow: bool) -> None:
    """Deleted posts are skipped."""
    async for record in read(kafka, kafka.output_topic, follow=follow):
        if record.value is not None:
            sys.stdout.buffer.write(record.value + b"\n")
            sys.stdout.buffer.flush()


async def _print_newest(kafka: KafkaSettings) -> None:
    latest = LatestVerdicts()
    async for record in read(kafka, kafka.output_topic):
        latest.take(record.key, record.value)
    sys.stdout.buffer.writelines(verdict + b"\n" for verdict in latest.verdicts)


class LatestVerdicts:
    """The latest verdict of each post: the highest revision, of one revision the last; a null erases the key."""

    def __init__(self) -> None:
        self._kept: dict[bytes | None, tuple[int, bytes]] = {}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """The next record. Raises pydantic.ValidationError for what is not a verdict."""
        if value is None:
            self._kept.pop(key, None)
            return
        revision = _Revision.model_validate_json(value).post_revision
        if key not in self._kept or revision >= self._kept[key][0]:
            self._kept[key] = revision, value

    @property
    def verdicts(self) -> Iterable[bytes]:
        """One a post, as published."""
        return (value for _, value in self._kept.values())


class _Revision(BaseModel):
    post_revision: int
