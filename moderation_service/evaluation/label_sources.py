"""Label sources: the bundled set, a file or folder, reviews with their posts or verdicts, the review topic."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moderation_service.contracts.post import Post, read_post
from moderation_service.errors import Misconfigured, Poison
from moderation_service.evaluation import reviews
from moderation_service.evaluation.calibrators import ExampleSource
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.loaders import Format, load, loaded
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.kafka.topic_io import read
from moderation_service.policies.pack import PolicyPack
from moderation_service.readers.post_files import read_posts, root_of, unread
from moderation_service.readers.rows import BadPost, Row, json_row, json_rows
from moderation_service.settings import KafkaSettings, Settings

BUNDLED, TOPIC = "bundled", "reviews"
"""Words that stand in the place of a path."""


@dataclass(frozen=True, slots=True)
class LabelSource:
    """What the command line names: a path or one of the words above, and how it is read.

    With `posts` or `verdicts` the path holds reviews, and these are what they are of. `is_audited`: only reviews from
    blind audits count.
    """

    given: str
    policy: str | None = None
    form: Format | None = None
    posts: Path | None = None
    verdicts: Path | None = None
    is_audited: bool = False

    def __post_init__(self) -> None:
        """Raises Misconfigured where the options don't go together."""
        if self.posts and self.verdicts:
            msg = "--posts and --verdicts: one of the two; posts are judged again, verdicts have their scores"
            raise Misconfigured(msg)
        if self.given in {BUNDLED, TOPIC} and (self.posts or self.verdicts):
            msg = f"{self.given}: takes no --posts or --verdicts, which are what a file of reviews is of"
            raise Misconfigured(msg)
        if self.is_audited and self.given != TOPIC and not self.posts:
            msg = f"--audits: is of reviews; name the posts that those of {self.given} are of with --posts"
            raise Misconfigured(msg)


@dataclass(frozen=True, slots=True)
class LabelledPosts:
    """Labelled posts, where they are from, the rows that were left out, and settings that reach their images."""

    posts: Sequence[Labelled]
    source: str
    left_out: Sequence[BadPost]
    settings: Settings
    unread: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BundledPosts:
    """Which of the bundled posts, and they themselves, not drawn yet."""

    which: str
    posts: Iterable[Labelled]


async def labelled_posts(
    settings: Settings, pack: PolicyPack, named: LabelSource, bundled: BundledPosts
) -> LabelledPosts:
    """The labelled posts that are named.

    Raises Misconfigured where no row is left, and Fatal where a topic can't be read.
    """
    if named.given == BUNDLED:
        return LabelledPosts(list(bundled.posts), f"{BUNDLED}, {bundled.which}", (), settings)
    policies = frozenset(one.id for one in pack.policies)
    if named.given == TOPIC:
        said = await _reviews(settings.kafka)
        wanted = reviews.posts_of(said)
        verdicts = await _records(settings.kafka, settings.kafka.output_topic, wanted)
        said = reviews.without_routed(said, [json_row(*record) for record in verdicts])
        said = reviews.settled(said) if named.is_audited else said
        posts = [
            post for topic in settings.kafka.input_topics for post in await _records(settings.kafka, topic, wanted)
        ]
        reader = RowReader(Path(), policies, None)
        joined = reviews.of_posts(said, [_post(where, value) for where, value in posts], reader)
        found, source = loaded(joined, settings.kafka.review_topic, reader), settings.kafka.review_topic
    elif named.posts:
        reader = RowReader(root_of(named.posts), policies, None)
        source = f"{named.given} of {named.posts}"
        said = [*json_rows(Path(named.given))]
        said = reviews.settled(said) if named.is_audited else said
        joined = reviews.of_posts(said, read_posts(named.posts), reader)
        found = replace(loaded(joined, source, reader), unread=tuple(unread(named.posts)))
        settings = settings.with_file_root(reader.root)
    else:
        found, source = load(Path(named.given), policies, policy=named.policy, form=named.form), named.given
        settings = settings.with_file_root(found.root)
    return LabelledPosts(found.posts, source, found.left_out, settings, found.unread)


@dataclass(frozen=True, slots=True)
class RecordedScores:
    """Recorded scores that people reviewed, where they are from, and what was left out."""

    scores: ExampleSource
    source: str
    left_out: Sequence[BadPost]
    unread: Sequence[str] = ()


async def recorded_scores(settings: Settings, named: LabelSource) -> RecordedScores | None:
    """The recorded scores that are named; None where posts are to be judged. Raises as `labelled_posts`."""
    if named.given == TOPIC:
        said = await _reviews(settings.kafka)
        records = await _records(settings.kafka, settings.kafka.output_topic, reviews.posts_of(said))
        verdicts, source = [json_row(*record) for record in records], settings.kafka.review_topic
    elif named.verdicts:
        said, verdicts = [*json_rows(Path(named.given))], [*json_rows(named.verdicts)]
        source = f"{named.given} of {named.verdicts}"
    else:
        return None
    scores, left_out = reviews.of_verdicts(said, verdicts)
    return RecordedScores(scores, source, left_out)


async def _reviews(kafka: KafkaSettings) -> list[Row]:
    return [json_row(*record) for record in await _records(kafka, kafka.review_topic)]


async def _records(kafka: KafkaSettings, topic: str, keys: Collection[bytes] | None = None) -> list[tuple[str, bytes]]:
    """Place and value of a topic's records, of these keys only where any are given; a deleted key has none."""
    kept: dict[bytes | None, list[tuple[str, bytes]]] = {}
    async for record in read(kafka, topic):
        if record.value is None:
            kept.pop(record.key, None)
        elif keys is None or record.key in keys:
            place = f"{topic}:{record.partition}:{record.offset}"
            kept.setdefault(record.key, []).append((place, record.value))
    return [record for records in kept.values() for record in records]


def _post(where: str, value: bytes) -> Post | BadPost:
    try:
        return read_post(value)
    except Poison as poison:
        return BadPost(where, str(poison))
