"""Train, validation and held-out posts: by time where every post has one, else by a hash; families stay together.

By time is the honest way: a model serves posts that are later than all it learned from.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moderation_service.evaluation.run import JudgedPost

VALIDATION, HELD_OUT = 0.1, 0.25
"""Shares of the families: to stop early on, and to measure on what nothing was chosen by."""


@dataclass(frozen=True, slots=True)
class Split:
    """Three parts of the posts, and by what they were parted."""

    train: tuple[JudgedPost, ...]
    validation: tuple[JudgedPost, ...]
    held_out: tuple[JudgedPost, ...]
    by: Literal["time", "hash"]


def split(posts: Sequence[JudgedPost]) -> Split:
    """Earlier families train, the next validate, the latest are held out."""
    families: dict[str, list[JudgedPost]] = {}
    for judged in posts:
        families.setdefault(judged.labelled.family, []).append(judged)
    times = {
        name: max(one.labelled.post.created_at for one in members if one.labelled.post.created_at)
        for name, members in families.items()
        if all(one.labelled.post.created_at for one in members)
    }
    by_time = len(times) == len(families)
    ordered = sorted(families, key=lambda name: (times[name], name)) if by_time else sorted(families, key=_hash)
    held_out, validation = (round(len(ordered) * share) for share in (HELD_OUT, VALIDATION))
    cuts = len(ordered) - held_out - validation, len(ordered) - held_out
    parts = ordered[: cuts[0]], ordered[cuts[0] : cuts[1]], ordered[cuts[1] :]
    train, validate, held = (tuple(one for name in part for one in families[name]) for part in parts)
    return Split(train, validate, held, "time" if by_time else "hash")


def _hash(family: str) -> str:
    return hashlib.sha256(family.encode()).hexdigest()
