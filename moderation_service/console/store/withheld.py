"""Verdicts that are not for everybody: those with a route, and earlier ones on such a post; what they keep."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from moderation_service.console.store.tables import image_hashes, jobs, verdicts
from moderation_service.contracts.enums import Route

_WITHHELD = "withheld"  # in place of a route: the verdict has none, but a later one on the post has
NOT_DRAWN = dict.fromkeys(("stratum", "probability", "sampled", "cluster"))
"""A row's columns of a verdict that is in no sample."""
_EMPTY: dict[str, object] = {
    "author_id": None,
    "surface": None,
    "metadata": {},
    "explanation": None,
    "explanation_kind": None,
    "statement_of_reasons": None,
    "audit": None,
    "post_language": None,
    "detected_language": None,
}


def visible(*, routed: bool = False) -> tuple[ColumnElement[bool], ...]:
    """Conditions on the verdicts that everybody may see, or with `routed` those too whose route has a permission."""
    return () if routed else (verdicts.c.route.is_(None),)


async def withhold(connection: AsyncConnection, fresh: Collection[dict[str, Any]]) -> None:
    """Hide the other verdicts on posts with a route, up to that revision, and keep nothing of the posts' in them.

    Those that come behind the route are hidden on earlier revisions alone: on its own, one says that it is no more.
    """
    last = dict[str, int]()  # by post, the last revision whose verdicts are hidden
    routed = select(verdicts.c.post_id, func.max(verdicts.c.post_revision)).where(
        verdicts.c.post_id.in_({row["post_id"] for row in fresh}), verdicts.c.route == Route.CHILD_SAFETY
    )
    for post_id, revision in await connection.execute(routed.group_by(verdicts.c.post_id)):
        last[post_id] = revision - 1
    for row in fresh:
        if row["route"]:
            last[row["post_id"]] = max(row["post_revision"], last[row["post_id"]])
    for post_id, revision in last.items():
        others = select(verdicts.c.seq, verdicts.c.rest).where(
            verdicts.c.post_id == post_id, verdicts.c.post_revision <= revision, verdicts.c.route.is_(None)
        )
        for seq, rest in (await connection.execute(others)).all():
            hidden = {"route": _WITHHELD, "surface": None, "rest": without_content(rest), **NOT_DRAWN}
            await connection.execute(update(verdicts).where(verdicts.c.seq == seq).values(hidden))
            await connection.execute(delete(image_hashes).where(image_hashes.c.verdict_seq == seq))
            closed = update(jobs).where(jobs.c.verdict_seq == seq, jobs.c.state == "open")
            await connection.execute(closed.values(state="superseded", leased_by=None, leased_until=None))


def without_content(published: dict[str, Any]) -> dict[str, Any]:
    """A verdict's fields without its draw, and without what the post's author filled, or what may quote their words."""
    content = published["content"]
    images = [{**image, "text": None} for image in content["images"]]
    return {**published, **_EMPTY, "content": {**content, "images": images}}
