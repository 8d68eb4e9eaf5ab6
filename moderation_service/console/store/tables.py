"""The tables, in SQLite and in PostgreSQL. Migrations make them; every query is written with these."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """An aware moment in UTC; SQLite knows no time zones, so it is kept there without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Words(TypeDecorator[str]):
    """The type of every column of text: it may hold U+0000, which PostgreSQL's text can't, and is escaped.

    Also where a column holds words of ours alone: what it is compared with comes from outside.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Escape, with U+001B, it and U+0000."""
        if value is None or ("\0" not in value and "\x1b" not in value):
            return value
        return value.replace("\x1b", "\x1b1").replace("\0", "\x1b0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """As it was."""
        if value is None or "\x1b" not in value:
            return value
        return value.replace("\x1b0", "\0").replace("\x1b1", "\x1b")


METADATA = MetaData()
_number = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only in an INTEGER

verdicts = Table(
    "verdicts",
    METADATA,
    Column("seq", _number, primary_key=True, autoincrement=True),
    Column("verdict_id", Words, nullable=False, unique=True),
    Column("post_id", Words, nullable=False),
    Column("post_revision", BigInteger, nullable=False),
    Column("newest", Boolean, nullable=False),  # of its post: highest revision, and of one revision the last
    Column("decision", Words, nullable=False),
    Column("abstain_reason", Words),
    Column("severity", Integer, nullable=False),  # of the gravest policy violated; 0: none is
    Column("margin", Double, nullable=False),  # least distance of a score to its review threshold; 0: least sure
    Column("language", Words, nullable=False),
    Column("surface", Words),
    Column("stratum", Words),  # of its audit's draw; null without one, and of verdicts that are not for everybody
    Column("probability", Double),  # with which the stratum is drawn
    Column("sampled", Boolean),
    Column("cluster", Words),  # of a sampled one: what its copies have in common
    Column("route", Words),  # set: for those alone who have its permission; `withheld`: of such a post
    Column("total_ms", Double, nullable=False),
    Column("judged_at", Moment, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("policies", JSON, nullable=False),  # the verdict's `policies`, as published
    Column("rest", JSON, nullable=False),  # all its other fields, as published
    Index("verdicts_by_post", "post_id", "post_revision"),
    Index("verdicts_by_time", "judged_at", "decision", "total_ms"),  # all that the overview reads
    Index("verdicts_by_decision", "decision", "judged_at"),
)
_routed = verdicts.c.route.is_not(None)
Index("verdicts_routed", verdicts.c.seq, sqlite_where=_routed, postgresql_where=_routed)
_drawn, _clustered = verdicts.c.stratum.is_not(None), verdicts.c.cluster.is_not(None)
Index(  # by which strata are counted
    "verdicts_drawn",
    verdicts.c.judged_at,
    verdicts.c.stratum,
    verdicts.c.probability,
    verdicts.c.sampled,
    sqlite_where=_drawn,
    postgresql_where=_drawn,
)
Index("verdicts_clustered", verdicts.c.cluster, sqlite_where=_clustered, postgresql_where=_clustered)

jobs = Table(  # one for each verdict that a person is to look at, or that is audited
    "jobs",
    METADATA,
    Column("verdict_seq", _number, ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
    Column("state", Words, nullable=False),  # open | decided | superseded (a newer verdict of the post is there)
    Column("decision", Words, nullable=False),
    Column("abstain_reason", Words),
    Column("severity", Integer, nullable=False),
    Column("margin", Double, nullable=False),
    Column("language", Words, nullable=False),
    Column("judged_at", Moment, nullable=False),
    Column("reason", Words),  # BANK/ENTRY, which was matched with past verdicts
    Column("audit", Words),  # set: it is done blind; the AuditRound that it waits for, or that was its last
    Column("second", Boolean),  # of an audit: whether two people answer
    Column("place", Double),  # of an audit among those that wait: random, in [0, 1]
    Column("leased_by", Words),
    Column("leased_until", Moment),
)
_blind = jobs.c.audit.is_not(None)
Index("jobs_blind", jobs.c.state, jobs.c.place, sqlite_where=_blind, postgresql_where=_blind)
Index(  # with what the queue is filtered by, so that rows are read of those alone that are found
    "jobs_in_order",
    jobs.c.state,
    jobs.c.severity.desc(),
    jobs.c.margin,
    jobs.c.judged_at,
    jobs.c.verdict_seq,
    jobs.c.decision,
    jobs.c.abstain_reason,
    jobs.c.language,
    jobs.c.leased_until,
)
Index("jobs_counted", jobs.c.state, jobs.c.decision, jobs.c.judged_at, jobs.c.audit)
Index("jobs_leased", jobs.c.state, jobs.c.leased_until, jobs.c.leased_by)

job_policies = Table(  # what the queue, and the list of all verdicts, can be filtered by
    "job_policies",
    METADATA,
    Column("verdict_seq", _number, ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
    Column("policy_id", Words, primary_key=True),  # violated, or for an abstention all that were asked
    Column("attribution", Words),
    Index("job_policies_by_policy", "policy_id", "attribution"),
)

image_hashes = Table(  # by which past verdicts are found; none of verdicts with a route
    "image_hashes",
    METADATA,
    Column("verdict_seq", _number, ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),  # of the image in its post, from 0
    Column("sha256", LargeBinary, nullable=False),
    Column("pdq", LargeBinary),
    Column("pdq_quality", Integer),
    Index("image_hashes_by_sha256", "sha256"),
)

bank_matches = Table(  # the banks that a verdict matches
    "bank_matches",
    METADATA,
    Column("verdict_seq", _number, ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
    Column("bank", Words, primary_key=True),
    Column("action", Words, nullable=False),
    Column("is_shadow", Boolean, nullable=False),
)

bank_entries = Table(  # that were added here, also those that were removed since
    "bank_entries",
    METADATA,
    Column("bank", Words, primary_key=True),
    Column("entry_id", Words, primary_key=True),
    Column("kind", Words, nullable=False),
    Column("value", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("verdict_id", Words),  # whose content it is
    Column("expires_at", Moment),
    Column("added_by", Words, nullable=False),
    Column("added_at", Moment, nullable=False),
    Column("removed_at", Moment),
)

posts = Table(  # kept while a verdict may come, and then if a person may want to see it
    "posts",
    METADATA,
    Column("post_id", Words, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("text", Words, nullable=False),
    Column("record", LargeBinary),  # the record as published, until its thumbnails are made
    Column("wanted", Boolean, nullable=False),  # a verdict came that a person may want to see; its thumbnails are due
    Column("received_at", Moment, nullable=False),
)
_due = posts.c.wanted & posts.c.record.is_not(None)
Index("posts_unjudged", posts.c.received_at, sqlite_where=~posts.c.wanted, postgresql_where=~posts.c.wanted)
Index("posts_due", posts.c.received_at, sqlite_where=_due, postgresql_where=_due)

thumbnails = Table(
    "thumbnails",
    METADATA,
    Column("post_id", Words, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),  # of the image in its post, from 0
    Column("status", Words, nullable=False),  # an ImageStatus: `judged`, or why it was unavailable
    Column("width", Integer),
    Column("height", Integer),
    Column("sha256", Words),  # of the file that it was made of, as in a verdict's content
    Column("image", LargeBinary),  # WebP, at most `console.thumbnail_side` pixels a side
)

appeals = Table(  # complaints about a block; the first review that comes behind one is its outcome
    "appeals",
    METADATA,
    Column("appeal_id", Words, primary_key=True),
    Column("verdict_seq", _number, ForeignKey("verdicts.seq", ondelete="CASCADE"), nullable=False),
    Column("filed_at", Moment, nullable=False),
    Index("appeals_by_verdict", "verdict_seq"),
    Index("appeals_by_time", "filed_at"),
)

offsets = Table(  # where reading goes on, written with what was read
    "offsets",
    METADATA,
    Column("topic", Words, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

reviews = Table(
    "reviews",
    METADATA,
    Column("review_id", Words, primary_key=True),
    Column("verdict_id", Words, nullable=False),
    Column("post_id", Words, nullable=False),
    Column("post_revision", BigInteger, nullable=False),
    Column("decision", Words, nullable=False),
    Column("verdict_decision", Words),  # null where the verdict is not known here
    Column("policies", JSON, nullable=False),  # a list of PolicyReview
    Column("reason", Words, nullable=False),
    Column("reviewer", Words, nullable=False),
    Column("reviewed_at", Moment, nullable=False),
    Column("audit_round", Words),  # set, with the two below, of a blind answer in an audit
    Column("audit_stratum", Words),
    Column("audit_probability", Double),
    Index("reviews_by_verdict", "verdict_id"),
    Index("reviews_by_post", "post_id"),
    Index("reviews_by_reviewer", "reviewer", "reviewed_at"),
)

_audits = reviews.c.audit_round.is_not(None)
Index("reviews_audits", reviews.c.reviewed_at, sqlite_where=_audits, postgresql_where=_audits)

outbox = Table(  # records that are to be written to Kafka, each exactly once, in this order
    "outbox",
    METADATA,
    Column("number", _number, primary_key=True, autoincrement=True),
    Column("entry_id", Words, nullable=False, unique=True),  # its record's `ce_id`: found again on the topic
    Column("topic", Words, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary),
    Column("headers", JSON, nullable=False),
    Column("due_at", Moment, nullable=False),  # not before: a review may be undone for some seconds
    Column("taken", Boolean, nullable=False),  # the sender has it, and it may be on its topic: too late to undo
    Index("outbox_due", "due_at"),
)

users = Table(
    "users",
    METADATA,
    Column("name", Words, primary_key=True),
    Column("password_hash", Words, nullable=False),  # argon2id
    Column("role", Words, nullable=False),  # reviewer | admin
    Column("permissions", JSON, nullable=False, server_default="[]"),  # that no role includes
    Column("created_at", Moment, nullable=False),
    Column("disabled_at", Moment),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("token_digest", Words, primary_key=True),  # SHA-256 of the cookie's value
    Column("user", Words, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("csrf_token", Words, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

api_keys = Table(
    "api_keys",
    METADATA,
    Column("key_id", Words, primary_key=True),  # the part of a key that may be shown
    Column("name", Words, nullable=False),
    Column("digest", Words, nullable=False),  # SHA-256 of the whole key, which is random and long
    Column("scopes", JSON, nullable=False),  # of judge, read, review, banks, admin, child_safety
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
)

answers = Table(  # to requests with an Idempotency-Key: verdicts, which may be erased since
    "answers",
    METADATA,
    Column("key_id", Words, primary_key=True),
    Column("idempotency_key", Words, primary_key=True),
    Column("request_digest", Words, nullable=False),  # SHA-256 of its body
    Column("verdict_id", Words, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("answers_by_time", "created_at"),
)

case_results = Table(  # the last run of the active pack's cases
    "case_results",
    METADATA,
    Column("policy_id", Words, primary_key=True),
    Column("case_name", Words, primary_key=True),
    Column("policy_digest", Words, nullable=False),
    Column("as_expected", Boolean, nullable=False),
    Column("decided", Words, nullable=False),
    Column("score", Double, nullable=False),
    Column("ran_at", Moment, nullable=False),
)
