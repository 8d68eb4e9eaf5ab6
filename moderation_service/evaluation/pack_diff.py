"""What a new policy pack would change: the same posts judged by the old one and by the new."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from moderation_service.contracts.enums import Mode, Outcome
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.evaluation.batch_judge import Unjudged, for_each
from moderation_service.judging.judge import Judge, JudgeResult
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack
from moderation_service.telemetry.redaction import beginning

Change = Literal["added", "removed", "changed", "same"]


@dataclass(slots=True)
class Side:
    """One pack's results: decisions by their count, and the tokens that the model read for them."""

    digest: str
    decisions: Counter[str] = field(default_factory=Counter)
    tokens: int = 0


@dataclass(slots=True)
class PolicyChange:
    """One policy in both packs: outcomes by their count, how many posts' differ, how far a score moved at most.

    A mode is None in the pack that lacks the policy. Posts out of its scope have no outcome.
    """

    policy_id: str
    change: Change
    old_mode: Mode | None
    new_mode: Mode | None
    old: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)
    flips: int = 0
    furthest: float = 0.0


@dataclass(frozen=True, slots=True)
class Said:
    """What one policy says of one post."""

    outcome: str
    score: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What one pack says of one post: the decision, each policy by id, and the tokens that the model read for it."""

    decision: str
    said: Mapping[str, Said]
    tokens: int


@dataclass(frozen=True, slots=True)
class PolicyFlip:
    """One policy on one post, by each pack; None where it was not asked."""

    policy_id: str
    old: Said | None
    new: Said | None


@dataclass(frozen=True, slots=True)
class Flip:
    """A post on which the decision, or a policy's outcome, would be another. `text` is its beginning."""

    post_id: str
    post_revision: int
    text: str
    images: int
    old: str
    new: str
    policies: tuple[PolicyFlip, ...]


class PackDiff:
    """Counts as pairs of verdicts come in. The old pack's are the first of each pair."""

    def __init__(self, old: PolicyPack, new: PolicyPack) -> None:
        self.posts = 0
        self.old, self.new = Side(old.digest), Side(new.digest)
        self.flips: list[Flip] = []
        before, after = ({policy.id: policy for policy in pack.policies} for pack in (old, new))
        self.policies = {
            policy_id: _change(policy_id, before.get(policy_id), after.get(policy_id))
            for policy_id in sorted(before.keys() | after.keys())
        }

    def add(self, post: Post, old: JudgeResult, new: JudgeResult) -> None:
        """Count one post that both packs judged."""
        shown = post.post_id, post.revision, beginning(post.text), len(post.images)
        self.count(shown, *(Judged(one.verdict.decision, _said(one.verdict), one.tokens) for one in (old, new)))

    def count(self, shown: tuple[str, int, str, int], old: Judged, new: Judged) -> None:
        """Count one post, of which this is `shown`: id, revision, its first words, and how many images it has."""
        self.posts += 1
        for side, judged in ((self.old, old), (self.new, new)):
            side.decisions[judged.decision] += 1
            side.tokens += judged.tokens
        flipped = tuple(
            flip for change in self.policies.values() if (flip := _count(change, old.said, new.said)) is not None
        )
        if flipped or old.decision != new.decision:
            self.flips.append(Flip(*shown, old.decision, new.decision, flipped))

    def changed(self) -> Counter[tuple[str, str]]:
        """How many posts' decision would go from which to which."""
        return Counter((flip.old, flip.new) for flip in self.flips if flip.old != flip.new)

    def as_json(self) -> dict[str, JsonValue]:
        """All of it; the flips in the order of their posts' ids."""
        changed = [{"old": old, "new": new, "posts": count} for (old, new), count in sorted(self.changed().items())]
        made: dict[str, JsonValue] = to_jsonable_python(
            {
                "posts": self.posts,
                "old": self.old,
                "new": self.new,
                "decisions": changed,
                "policies": list(self.policies.values()),
                "flips": sorted(self.flips, key=lambda flip: (flip.post_id, flip.post_revision)),
            }
        )
        return made


async def judge_by_both(
    diff: PackDiff, by_old: Judge, by_new: Judge, posts: Iterable[Post], on_done: Callable[[Post], None]
) -> list[Unjudged]:
    """Judge each post by both packs on one loading of its images, and count it; the posts that could not be judged."""

    async def work(post: Post) -> None:
        async with by_old.load_evidence(post) as evidence:
            trace_id = secrets.token_hex(16)
            old = await by_old.judge(post, trace_id=trace_id, evidence=evidence)
            new = await by_new.judge(post, trace_id=trace_id, evidence=evidence)
        diff.add(post, old, new)
        on_done(post)

    return await for_each(posts, work)


def _change(policy_id: str, old: Policy | None, new: Policy | None) -> PolicyChange:
    change: Change = "same"
    if old is None or new is None:
        change = "removed" if old else "added"
    elif old.digest != new.digest:
        change = "changed"
    return PolicyChange(policy_id, change, old.mode if old else None, new.mode if new else None)


def _said(verdict: Verdict) -> dict[str, Said]:
    return {part.policy_id: Said(part.outcome, part.score) for part in (*verdict.policies, *verdict.shadow)}


def _count(change: PolicyChange, before: Mapping[str, Said], after: Mapping[str, Said]) -> PolicyFlip | None:
    """Count one policy on one post; its flip, where it says otherwise. A policy that is not asked allows."""
    old, new = before.get(change.policy_id), after.get(change.policy_id)
    if old:
        change.old[old.outcome] += 1
    if new:
        change.new[new.outcome] += 1
    if old and new:
        change.furthest = max(change.furthest, abs(new.score - old.score))
    if (old.outcome if old else Outcome.ALLOW) == (new.outcome if new else Outcome.ALLOW):
        return None
    change.flips += 1
    return PolicyFlip(change.policy_id, old, new)
