"""The plan of a rejudge, in SQLite: which past posts are judged again, what was recorded of them, what comes out."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from moderation_service.contracts.post import Post, read_post
from moderation_service.contracts.registry_frame import unframed_key
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured, Poison
from moderation_service.kafka.topic_consumer import Offsets
from moderation_service.telemetry.redaction import beginning

_PLAN = "CREATE TABLE IF NOT EXISTS plan (settings TEXT NOT NULL);"
_NONE = "DROP TABLE IF EXISTS ends; DROP TABLE IF EXISTS posts;"
_TABLES = """
CREATE TABLE ends (topic TEXT, part INTEGER, begin INTEGER, finish INTEGER);
CREATE TABLE posts (post_id TEXT PRIMARY KEY, revision INTEGER, topic TEXT, part INTEGER, place INTEGER,
  old TEXT, new TEXT, failure TEXT, tokens INTEGER, text TEXT, images INTEGER);
CREATE INDEX posts_by_place ON posts (topic, part, place);
"""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """One post of the plan: what was recorded, None where nothing was, and what the new policies say or why nothing."""

    post_id: str
    revision: int
    old: str | None
    new: str | None
    failure: str | None
    tokens: int
    text: str  # its beginning, without personal data
    images: int


def said_of(verdict: Verdict) -> str:
    """What a verdict says, as JSON: its decision, and each policy's outcome and score."""
    policies = {"__all__": {"policy_id", "outcome", "score"}}
    return verdict.model_dump_json(include={"decision": True, "policies": policies, "shadow": policies})


class RejudgePlan:
    """A post is in it at the newest of its revisions on the log. It outlives the process: a later one goes on with it.

    Writing is idempotent, by the post: one that is judged twice, because a process was killed before the offset was
    committed, is in it once.
    """

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises Misconfigured for another kind of file."""
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_PLAN)
            self.is_complete = self._db.execute("SELECT 1 FROM plan").fetchone() is not None
        except sqlite3.DatabaseError as error:
            msg = f"{path}: is no plan of a rejudge ({error}); name another folder with -o"
            raise Misconfigured(msg) from error

    def close(self) -> None:
        """Leave it on the disk."""
        self._db.close()

    def begin(self, begins: Offsets, ends: Offsets) -> None:
        """Begin a new plan, of the posts between these offsets; one that was begun and is not complete is dropped."""
        self._db.executescript(f"{_NONE} {_TABLES}")
        rows = ((topic, part, begins[topic, part], end) for (topic, part), end in ends.items())
        self._db.executemany("INSERT INTO ends VALUES (?, ?, ?, ?)", rows)

    def add_posts(self, records: Iterable[ConsumerRecord]) -> None:
        """Take in records of posts: of each the newest revision stays, unless it is deleted behind it."""
        with self._transaction():
            for record in records:
                self._add(record)

    def add_verdicts(self, records: Iterable[ConsumerRecord]) -> None:
        """Take in recorded verdicts: the last on each post's revision counts."""
        with self._transaction():
            for record in records:
                with suppress(ValidationError):  # what is no verdict, or a deletion, tells of none
                    verdict = Verdict.model_validate_json(record.value or b"")
                    named = said_of(verdict), verdict.post_id, verdict.post_revision
                    self._db.execute("UPDATE posts SET old = ? WHERE post_id = ? AND revision = ?", named)

    def complete(self, settings: str, decision: str | None) -> None:
        """All is taken in. With a `decision` only posts whose recorded decision it is stay."""
        if decision is not None:
            self._db.execute("DELETE FROM posts WHERE old IS NULL OR old ->> 'decision' != ?", (decision,))
        self._db.execute("INSERT INTO plan VALUES (?)", (settings,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        yield
        self._db.execute("COMMIT")

    @property
    def settings(self) -> str:
        """As given to `complete`."""
        return str(self._db.execute("SELECT settings FROM plan").fetchone()[0])

    @property
    def begins(self) -> Offsets:
        """The first offset of each partition."""
        return {(topic, part): begin for topic, part, begin, _ in self._db.execute("SELECT * FROM ends")}

    @property
    def finishes(self) -> Offsets:
        """Where the log of each partition ended when the plan was made."""
        return {(topic, part): finish for topic, part, _, finish in self._db.execute("SELECT * FROM ends")}

    @property
    def ends(self) -> Offsets:
        """Behind the last offset of each partition that has a post of the plan."""
        query = "SELECT topic, part, max(place) + 1 FROM posts GROUP BY topic, part"
        return {(topic, part): end for topic, part, end in self._db.execute(query)}

    def count(self) -> tuple[int, int]:
        """Posts, and those of them that are done."""
        done = "sum(new IS NOT NULL OR failure IS NOT NULL)"
        posts, finished = self._db.execute(f"SELECT count(*), {done} FROM posts").fetchone()  # noqa: S608 - ours
        return posts, finished or 0

    def old_of(self, record: ConsumerRecord) -> tuple[str, str | None] | None:
        """The post's id and what was recorded of it; None for a record that is not to be judged again."""
        query = "SELECT post_id, old FROM posts WHERE topic = ? AND part = ? AND place = ?"
        found: tuple[str, str | None] | None = self._db.execute(
            query, (record.topic, record.partition, record.offset)
        ).fetchone()
        return found

    def finish(self, post: Post, new: Verdict, tokens: int) -> None:
        """Note what came out. Nothing of the words of a post with a route is kept."""
        text = "" if new.route else beginning(post.text)
        row = said_of(new), tokens, text, len(post.images), post.post_id
        self._db.execute(
            "UPDATE posts SET new = ?, failure = NULL, tokens = ?, text = ?, images = ? WHERE post_id = ?", row
        )

    def fail(self, post_id: str, why: str) -> None:
        """Note that it can't be judged."""
        self._db.execute("UPDATE posts SET failure = ? WHERE post_id = ?", (why, post_id))

    def forget(self, committed: Offsets) -> None:
        """Take back what came out of posts whose offsets are not committed: they are judged again."""
        query = "UPDATE posts SET new = NULL, failure = NULL WHERE topic = ? AND part = ? AND place >= ?"
        self._db.executemany(query, [(*at, offset) for at, offset in committed.items()])

    def overtake(self, record: ConsumerRecord) -> None:
        """Leave out a post of which the log has a newer revision, or a deletion, behind the plan's end."""
        if (named := _named(record)) is None:
            return
        post_id, revision = named
        left = "DELETE FROM posts WHERE post_id = ? AND new IS NULL AND failure IS NULL"
        if revision is None:
            self._db.execute(left, (post_id,))
        else:
            self._db.execute(f"{left} AND revision <= ?", (post_id, revision))

    def rows(self) -> Iterator[Rejudged]:
        """All posts, in the order of their ids."""
        columns = "post_id, revision, old, new, failure, coalesce(tokens, 0), coalesce(text, ''), coalesce(images, 0)"
        for row in self._db.execute(f"SELECT {columns} FROM posts ORDER BY post_id"):  # noqa: S608 - ours
            yield Rejudged(*row)

    def _add(self, record: ConsumerRecord) -> None:
        if (named := _named(record)) is None:
            return
        post_id, revision = named
        if revision is None:
            self._db.execute("DELETE FROM posts WHERE post_id = ?", (post_id,))
            return
        self._db.execute(
            "INSERT INTO posts (post_id, revision, topic, part, place) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " revision = excluded.revision, topic = excluded.topic, part = excluded.part, place = excluded.place"
            " WHERE excluded.revision >= revision",
            (post_id, revision, record.topic, record.partition, record.offset),
        )


def _named(record: ConsumerRecord) -> tuple[str, int | None] | None:
    """A post's id and revision, without one for a deletion; None for what is no post."""
    if record.value is None:
        return (unframed_key(record.key) or b"").decode(errors="replace"), None
    try:
        post = read_post(record.value)
    except Poison:
        return None
    return post.post_id, post.revision


def is_changed(old: str | None, new: str) -> bool:
    """Whether a decision, or a policy's outcome, is another than was recorded. A policy that is not there allows."""
    return old is None or _outcomes(old) != _outcomes(new)


def _outcomes(said: str) -> tuple[str, dict[str, str]]:
    read = json.loads(said)
    flagged = {part["policy_id"]: part["outcome"] for part in read["policies"] if part["outcome"] != "allow"}
    return read["decision"], flagged
