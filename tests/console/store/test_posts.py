"""Posts in the database: kept until their verdict comes, and longer only if a person may want to see them."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import posts, verdicts
from moderation_service.console.store.tables import thumbnails
from moderation_service.contracts.post import ImageRef, Post
from tests.contracts.examples import verdict

NOW = datetime(2026, 5, 1, 10, tzinfo=UTC)
IMAGE = ImageRef(url="https://pictures.example/1.png")


def post(revision: int = 2, text: str = "words") -> Post:
    return Post(post_id="p-17", revision=revision, text=text, images=(IMAGE,))


async def put(database: AsyncEngine, *given: Post) -> None:
    async with database.begin() as connection:
        for one in given:
            await posts.put(connection, one, b"record")


async def judge(database: AsyncEngine, decision: str, revision: int = 2) -> None:
    named = f"{decision}-{revision}"
    async with database.begin() as connection:
        await verdicts.put(connection, verdict(verdict_id=named, decision=decision, post_revision=revision), NOW)


async def kept(database: AsyncEngine) -> dict[int, bool]:
    """Revision -> whether it is wanted."""
    async with database.connect() as connection:
        found = await connection.execute(select(posts.posts.c.revision, posts.posts.c.wanted))
        return {row.revision: row.wanted for row in found}


@pytest.mark.parametrize("decision", ["review", "abstain", "block"])
async def test_a_post_that_a_person_may_want_to_see_is_kept(database: AsyncEngine, decision: str) -> None:
    await put(database, post(text="see \0 this \x1b1"))
    assert await kept(database) == {2: False}
    await judge(database, decision)
    assert await kept(database) == {2: True}
    assert await posts.shown(database, "p-17", 2) == posts.ShownPost("see \0 this \x1b1", (), due=True)


async def test_an_allowed_post_is_dropped_when_its_verdict_comes_and_when_it_came_before(database: AsyncEngine) -> None:
    await put(database, post())
    await judge(database, "allow")
    assert await kept(database) == {}
    await put(database, post())
    assert await kept(database) == {}


async def test_a_post_that_comes_after_its_verdict_is_wanted_at_once(database: AsyncEngine) -> None:
    await judge(database, "review")
    await put(database, post())
    assert await kept(database) == {2: True}


async def test_the_newest_revision_decides_on_older_ones(database: AsyncEngine) -> None:
    await put(database, post(1), post(2))
    await judge(database, "review", 1)
    await judge(database, "allow", 2)
    assert await kept(database) == {}
    await judge(database, "block", 0)
    await put(database, post(0), post(3))
    assert await kept(database) == {3: False}, "revision 0 is older than one that was allowed; 3 waits for its own"


async def test_a_late_verdict_of_an_older_revision_does_not_drop_the_newest(database: AsyncEngine) -> None:
    await put(database, post(1), post(2))
    await judge(database, "review", 2)
    await judge(database, "allow", 1)
    assert await kept(database) == {2: True}


async def test_a_revision_published_again_goes_before_and_gets_new_thumbnails(database: AsyncEngine) -> None:
    await judge(database, "review")
    await put(database, post(text="first"))
    async with database.begin() as connection:
        made = {"post_id": "p-17", "revision": 2, "position": 0, "status": "judged", "width": 3, "height": 2}
        await connection.execute(insert(thumbnails).values(**made, sha256="aa", image=b"webp"))
    shown = await posts.shown(database, "p-17", 2)
    assert shown is not None
    assert shown.thumbnails == (posts.Thumbnail(0, "judged", 3, 2, "aa"),)
    assert await posts.thumbnail(database, "p-17", 2, 0, "aa") == b"webp"
    await put(database, post(text="second"))
    assert await posts.shown(database, "p-17", 2) == posts.ShownPost("second", (), due=True)
    assert await posts.thumbnail(database, "p-17", 2, 0, None) is None


async def test_a_deleted_post_is_erased_with_its_thumbnails(database: AsyncEngine) -> None:
    await judge(database, "review")
    await put(database, post(1), post(2))
    async with database.begin() as connection:
        await connection.execute(insert(thumbnails).values(post_id="p-17", revision=2, position=0, status="refused"))
        await posts.erase(connection, ["p-17"])
    assert await kept(database) == {}
    async with database.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(thumbnails))).scalar_one() == 0


async def test_a_post_made_anew_outlives_the_deletion_of_its_old_verdicts(database: AsyncEngine) -> None:
    await put(database, post(1))
    await judge(database, "review", 1)
    await put(database, post(2))
    async with database.begin() as connection:
        await verdicts.erase(connection, ["p-17"])
    assert await kept(database) == {2: False}
