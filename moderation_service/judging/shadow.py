"""Shadow policies, judged without deciding: a pack's own of `mode: shadow`, and a whole second pack."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import structlog

from moderation_service.contracts.enums import Decision, Mode, Outcome
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.policy_scorer import FullPostScores, PolicyScorer
from moderation_service.policies.pack import PolicyPack

T = TypeVar("T")
S = TypeVar("S")
log = structlog.get_logger(__name__)


def shadow_sets(pack: PolicyPack, second: PolicyPack | None) -> tuple[tuple[PolicyPack, Mode], ...]:
    """The sets of shadow policies. Each is asked as if it were enforced, so that its scores are the same.

    A policy of the second pack goes before the pack's own shadow policy of that id: an id is listed once.
    """
    sets: list[tuple[PolicyPack, Mode]] = [(pack, Mode.SHADOW)]
    if second is not None:
        ids = {policy.id for policy in second.policies}
        own = replace(pack, policies=tuple(policy for policy in pack.shadow if policy.id not in ids))
        sets = [(own, Mode.SHADOW), (second, Mode.ENFORCE), (second, Mode.SHADOW)]
    return tuple((policies, mode) for policies, mode in sets if policies.of(mode))


def is_flip(outcome: Outcome, enforced: Outcome | None, decision: Decision) -> bool:
    """Whether a shadow policy's outcome would change something; `enforced` is that of the enforced policy of its id."""
    if enforced is not None:
        return outcome != enforced
    return outcome.decision.strength > decision.strength


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """What the sets found that did not fail: the policies whose scope the post is in, all ids, and tokens read.

    `is_complete`: no set failed.
    """

    policies: tuple[PolicyVerdict, ...]
    judged_ids: tuple[str, ...]
    tokens: int
    is_complete: bool

    def flips(self, enforced: Sequence[PolicyVerdict], decision: Decision) -> list[str]:
        """The ids of the policies under which something would change.

        Beside an enforced policy of the same id: another outcome, `allow` where the post is out of the shadow
        policy's scope. Without one that judged this post: an outcome stronger than the decision.
        """
        outcomes = {part.policy_id: part.outcome for part in self.policies}
        in_force = {part.policy_id: part.outcome for part in enforced}
        return [
            policy_id
            for policy_id in self.judged_ids
            if is_flip(outcomes.get(policy_id, Outcome.ALLOW), in_force.get(policy_id), decision)
        ]


_NOTHING = ShadowResult((), (), 0, is_complete=True)
ShadowScores = list[FullPostScores | None]


async def run_with_shadow(enforced: Awaitable[T], shadow: Coroutine[Any, Any, S] | S) -> tuple[T, S]:
    """Both results, computed side by side. A shadow result that needs no waiting costs no task.

    If the enforced policies fail, the shadow is cancelled: each retry would leave one more running.
    """
    if not isinstance(shadow, Coroutine):
        return await enforced, shadow
    shadowing = asyncio.create_task(shadow)
    try:
        return await enforced, await shadowing
    finally:
        shadowing.cancel()


class ShadowScorer:
    """Scores each shadow set in requests of its own. Neither their load nor their failures touch enforced policies."""

    def __init__(self, scorers: Sequence[PolicyScorer]) -> None:
        self._scorers = scorers

    def score(self, evidence: Evidence, surface: str | None) -> ShadowScores | Coroutine[Any, Any, ShadowScores]:
        """Score the full post by each set; None for one that failed."""
        return self._score(evidence, surface) if self._scorers else []

    def attribute(
        self, evidence: Evidence, scores: ShadowScores, *, sampled: bool
    ) -> ShadowResult | Coroutine[Any, Any, ShadowResult]:
        """Each policy's outcome, with its attribution where the modality passes ran; `scores` are from `score`."""
        return self._attribute(evidence, scores, sampled=sampled) if self._scorers else _NOTHING

    async def _score(self, evidence: Evidence, surface: str | None) -> ShadowScores:
        return await asyncio.gather(*(_or_none(partial(scorer.score, evidence, surface)) for scorer in self._scorers))

    async def _attribute(self, evidence: Evidence, scores: ShadowScores, *, sampled: bool) -> ShadowResult:
        answered = [(scorer, joint) for scorer, joint in zip(self._scorers, scores, strict=True) if joint]
        found = await asyncio.gather(
            *(_or_none(partial(scorer.attribute, evidence, joint, sampled=sampled)) for scorer, joint in answered)
        )
        done = [(scorer, joint, *made) for (scorer, joint), made in zip(answered, found, strict=True) if made]
        parts = (part for _, _, parts, _ in done for part in parts)
        return ShadowResult(
            policies=tuple(sorted(parts, key=lambda part: part.policy_id)),
            judged_ids=tuple(policy.id for scorer, *_ in done for policy in scorer.policies),
            tokens=sum(joint.scored.tokens + tokens for _, joint, _, tokens in done),
            is_complete=len(done) == len(self._scorers),
        )


async def _or_none(ask: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await ask()
    except Exception as error:  # noqa: BLE001 - whatever it is
        # its class alone: its words may quote the post
        log.error("shadow policies were not judged", error=type(error).__name__)  # noqa: TRY400
        return None
