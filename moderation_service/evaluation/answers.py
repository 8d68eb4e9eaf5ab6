"""Every answer with a known truth, as arrays: one row for each post and policy that has a label."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.evaluation.run import JudgedPost

CLASSES: tuple[AttributionClass, ...] = tuple(AttributionClass)
UNKNOWN = -1
"""Stands for an attribution class that nobody labelled, or that was not measured."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows in the order of posts, then of policy ids.

    `post` counts the posts, `family` the posts made from one another, `policy` the policies. `joint`, `text` and
    `image` are the calibrated scores of the views. A view of what a post does not have scores 0, and so does a policy
    in whose scope the post is not (`asked` is false): neither could flag anything. `meant` and `told` are
    attribution classes (indices of CLASSES, or UNKNOWN).
    """

    post: Ints
    family: Ints
    policy: Ints
    truth: Bools
    joint: Floats
    raw: Floats
    text: Floats
    image: Floats
    threshold: Floats
    meant: Ints
    told: Ints
    asked: Bools

    def __len__(self) -> int:
        """How many rows."""
        return len(self.truth)

    def take(self, rows: Ints | Bools) -> Self:
        """Only these rows."""
        return type(self)(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    @property
    def either(self) -> Floats:
        """What a stack of two one-modality filters scores: the larger of the two."""
        return np.maximum(self.text, self.image)

    @property
    def flagged(self) -> Bools:
        """At or over the policy's review threshold."""
        return self.joint >= self.threshold


def policies_of(judged: Sequence[JudgedPost]) -> tuple[str, ...]:
    """Every policy with a label, by id."""
    return tuple(sorted({policy for one in judged for policy in one.labelled.labels}))


def answers(judged: Sequence[JudgedPost]) -> Answers:
    """The rows of all labels."""
    numbers = {policy: number for number, policy in enumerate(policies_of(judged))}
    families: dict[str, int] = {}
    rows: list[tuple[float, ...]] = []
    for post, one in enumerate(judged):
        family = families.setdefault(one.labelled.family, len(families))
        parts = {part.policy_id: part for part in (*one.verdict.policies, *one.verdict.shadow)}
        for policy, truth in sorted(one.labelled.labels.items()):
            meant = one.labelled.attribution.get(policy)
            where = (post, family, numbers[policy], truth)
            rows.append((*where, *_scores(parts.get(policy)), UNKNOWN if meant is None else CLASSES.index(meant)))
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 12)
    post_, family_, policy_, truth_, joint, raw, text, image, threshold, told, asked, meant_ = table.T
    return Answers(
        post=post_.astype(np.int64),
        family=family_.astype(np.int64),
        policy=policy_.astype(np.int64),
        truth=truth_.astype(np.bool_),
        joint=joint,
        raw=raw,
        text=text,
        image=image,
        threshold=threshold,
        meant=meant_.astype(np.int64),
        told=told.astype(np.int64),
        asked=asked.astype(np.bool_),
    )


def _scores(part: PolicyVerdict | None) -> tuple[float, ...]:
    """Joint, raw, text, image, threshold, class told, whether asked."""
    if part is None:  # out of the policy's scope
        return 0.0, 0.0, 0.0, 0.0, 1.0, float(CLASSES.index(AttributionClass.NONE)), False
    found = part.attribution
    if found is None:
        return part.score, part.raw_score, 0.0, 0.0, part.thresholds.review, float(UNKNOWN), True
    views = (found.text_only or 0.0, found.image_only or 0.0)
    return part.score, part.raw_score, *views, part.thresholds.review, float(CLASSES.index(found.class_)), True
