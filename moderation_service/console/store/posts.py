"""Posts: kept until their verdict comes, and then if a person may want to see them; of images a thumbnail."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import and_, delete, exists, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store.tables import jobs, posts, thumbnails, verdicts
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.post import Post

Key = tuple[str, int]  # a post's id and revision
Fate = Literal["waits", "wanted", "dropped"]
_KEY = tuple_(posts.c.post_id, posts.c.revision)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One image of a post: an ImageStatus, the digest of its file, and the thumbnail's size where there is one."""

    position: int
    status: str
    width: int | None
    height: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ShownPost:
    """What a person may see of a post. `due`: its thumbnails are not made yet."""

    text: str
    thumbnails: tuple[Thumbnail, ...]
    due: bool


async def put(connection: AsyncConnection, post: Post, record: bytes | None) -> None:
    """Keep a post, and its record until thumbnails are made of it; None where there are no images to make any of."""
    await put_rows(connection, [post_row(post, record, datetime.now(UTC))])


def post_row(post: Post, record: bytes | None, received_at: datetime) -> dict[str, Any]:
    """A post's row, without whether it is wanted."""
    return {
        "post_id": post.post_id,
        "revision": post.revision,
        "text": post.text,
        "record": record if post.images else None,
        "received_at": received_at,
    }


async def put_rows(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Keep rows of posts, as long as their verdicts let them; of one revision the last."""
    last = {(row["post_id"], row["revision"]): row for row in rows}
    fates = await _fates(connection, last.keys())
    kept = [{**row, "wanted": fates[key] == "wanted"} for key, row in last.items() if fates[key] != "dropped"]
    if not kept:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(posts)
    replaced = {name: insert.excluded[name] for name in ("text", "record", "wanted", "received_at")}
    upsert = insert.on_conflict_do_update(index_elements=["post_id", "revision"], set_=replaced)
    await connection.execute(upsert, kept)
    await _drop_thumbnails(connection, [(row["post_id"], row["revision"]) for row in kept])


async def settle(connection: AsyncConnection, post_ids: Collection[str]) -> None:
    """Now that verdicts came: drop those of these posts that nobody needs, and mark those that are to be shown."""
    found = await connection.execute(
        select(posts.c.post_id, posts.c.revision, posts.c.wanted).where(posts.c.post_id.in_(post_ids))
    )
    wanted = {(row.post_id, row.revision): row.wanted for row in found}
    fates = await _fates(connection, wanted.keys())
    if dropped := [key for key, fate in fates.items() if fate == "dropped"]:
        await connection.execute(delete(posts).where(_KEY.in_(dropped)))
        await _drop_thumbnails(connection, dropped)
    if marked := [key for key, fate in fates.items() if fate == "wanted" and not wanted[key]]:
        await connection.execute(update(posts).where(_KEY.in_(marked)).values(wanted=True))


async def erase(connection: AsyncConnection, post_ids: Collection[str]) -> None:
    """All revisions of posts that were deleted on the input topic; their verdicts follow on the output topic."""
    for table in (posts, thumbnails):
        await connection.execute(delete(table).where(table.c.post_id.in_(post_ids)))


async def shown(database: AsyncEngine, post_id: str, revision: int) -> ShownPost | None:
    """What is kept of a post's revision."""
    async with database.connect() as connection:
        found = await connection.execute(
            select(posts.c.text, posts.c.record.is_not(None).label("due")).where(*_are(posts, post_id, revision))
        )
        post = found.one_or_none()
        if post is None:
            return None
        columns = (getattr(thumbnails.c, name) for name in Thumbnail.__slots__)
        query = select(*columns).where(*_are(thumbnails, post_id, revision)).order_by(thumbnails.c.position)
        made = tuple(Thumbnail(*row) for row in await connection.execute(query))
    return ShownPost(post.text, made, post.due)


async def thumbnail(
    database: AsyncEngine, post_id: str, revision: int, position: int, sha256: str | None
) -> bytes | None:
    """A thumbnail's WebP file, if it was made of the file with this digest; None: of whichever."""
    at = (*_are(thumbnails, post_id, revision), thumbnails.c.position == position)
    made_of = () if sha256 is None else (thumbnails.c.sha256 == sha256,)
    async with database.connect() as connection:
        query = select(thumbnails.c.image).where(*at, *made_of)
        found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def _fates(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Fate]:
    """The newest revision's verdict decides on older ones too; each revision waits for a verdict of its own.

    Of an allowed post nothing is kept, but while it is audited.

    Nothing is kept of a revision with a route, nor of those before it: all may hold what must not be kept.
    """
    if not keys:
        return {}
    columns = (verdicts.c.post_id, verdicts.c.post_revision, verdicts.c.newest, verdicts.c.route)
    audited = exists().where(jobs.c.verdict_seq == verdicts.c.seq, jobs.c.state == "open")
    needless = and_(verdicts.c.decision == Decision.ALLOW, ~audited).label("needless")
    ids = {post_id for post_id, _ in keys}
    query = select(*columns, needless).where(verdicts.c.post_id.in_(ids)).order_by(verdicts.c.seq)
    last = defaultdict[str, dict[int, bool]](dict)
    dropped_to = dict[str, int]()
    for row in await connection.execute(query):
        last[row.post_id][row.post_revision] = row.needless
        if row.route or (row.newest and row.needless):
            dropped_to[row.post_id] = max(row.post_revision, dropped_to.get(row.post_id, row.post_revision))
    fates = dict[Key, Fate]()
    for post_id, revision in keys:
        is_needless = last[post_id].get(revision)
        if is_needless or revision <= dropped_to.get(post_id, revision - 1):
            fates[post_id, revision] = "dropped"
        else:
            fates[post_id, revision] = "waits" if is_needless is None else "wanted"
    return fates


async def _drop_thumbnails(connection: AsyncConnection, keys: Sequence[Key]) -> None:
    of = tuple_(thumbnails.c.post_id, thumbnails.c.revision)
    await connection.execute(delete(thumbnails).where(of.in_(keys)))


def _are(table: Any, post_id: str, revision: int) -> tuple[Any, Any]:  # noqa: ANN401 - one of the two tables
    return table.c.post_id == post_id, table.c.revision == revision
