"""What a layout costs in trust: how far a policy's scores move with what stands beside it in the prompt.

Posts that were judged are judged again with the policies shuffled, with one policy's question reworded, and without
one policy, and the others' scores are compared. In `post_first` policies never see each other; in `policies_first`
they do.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moderation_service.contracts.verdict import PolicyVerdict, Verdict
from moderation_service.evaluation.answers import Ints
from moderation_service.evaluation.metric_block import Bootstrap, rounded
from moderation_service.evaluation.run import JudgedPost, judge_all
from moderation_service.judging.decision import decide
from moderation_service.judging.judge import Judge
from moderation_service.policies.model import BilingualQuestion, Mode, Policy
from moderation_service.policies.pack import PolicyPack

PROBED = 400
"""Posts that are judged again for each kind of change, spread evenly over all."""

ORDERS = 4
"""Shuffled orders of the policies; each post is judged by one of them."""

_TAG = {"en": ", yes or no?", "zh": "，是或否？"}


@dataclass(frozen=True)
class Shuffled(PolicyPack):
    """The same policies, asked in another order."""

    order: tuple[str, ...] = ()

    def of(self, mode: Mode) -> tuple[Policy, ...]:
        """The policies of one mode, in `order`."""
        return tuple(sorted(super().of(mode), key=lambda policy: self.order.index(policy.id)))


@dataclass(frozen=True, slots=True)
class Variant:
    """A changed pack, and the policy that was changed, if one was: its own scores are not compared."""

    pack: PolicyPack
    changed: str | None = None


def variants(pack: PolicyPack, seed: int) -> dict[str, list[Variant]]:
    """The changes by kind: `shuffled`, and each policy in turn `edited` and `removed`."""
    rng = np.random.default_rng(seed)
    ids = [policy.id for policy in pack.policies]
    orders = [tuple(str(name) for name in rng.permutation(ids)) for _ in range(ORDERS)]

    def others(policy: Policy) -> tuple[Policy, ...]:
        return tuple(other for other in pack.policies if other.id != policy.id)

    return {
        "shuffled": [Variant(Shuffled(pack.policies, order=order)) for order in orders],
        "edited": [Variant(PolicyPack((*others(one), reworded(one))), one.id) for one in pack.policies],
        "removed": [Variant(PolicyPack(others(one)), one.id) for one in pack.policies],
    }


def reworded(policy: Policy) -> Policy:
    """The policy with words added to its question that don't change what it means."""
    words = {language: getattr(policy.question, language)[:-1] + tag for language, tag in _TAG.items()}
    fields = {name: getattr(policy, name) for name in Policy.model_fields}
    # A question of nearly 200 characters may grow over the bound on policy files.
    return Policy(**{**fields, "question": BilingualQuestion.model_construct(**words)})


def side_by_side(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The few of a run's figures by which layouts are compared, as a block."""
    shown = {
        "f1": (figures["overall"]["joint"], "f1"),
        "combined_f1": (figures["combined"], "f1"),
        "attribution_macro_f1": (figures["attribution"], "macro_f1"),
        "ece": (figures["calibration"], "ece"),
        "abstain_rate": (figures["abstain"], "rate"),
    }
    spread = {name: block.get("intervals", {}).get(figure) for name, (block, figure) in shown.items()}
    return {
        "calibration_id": figures["model"] and figures["model"]["calibration_id"],
        **{name: block.get(figure) for name, (block, figure) in shown.items()},
        "intervals": spread,
        "posts_per_second": figures["latency_ms"]["posts_per_second"],
    }


async def sensitivity(judge: Judge, judged: Sequence[JudgedPost], boot: Bootstrap) -> dict[str, Any]:
    """By kind of change how far the other policies' scores move, and how many posts' decisions change.

    `judged` are `judge`'s own verdicts. Empty where there is but one policy. Raises as `judge_all`.
    """
    if len(judge.pack.policies) == 1 or not judged:
        return {}
    probed = [judged[at] for at in np.unique(np.linspace(0, len(judged) - 1, PROBED).astype(int))]
    return {kind: await _compared(judge, probed, made, boot) for kind, made in variants(judge.pack, boot.seed).items()}


async def _compared(
    judge: Judge, probed: Sequence[JudgedPost], made: Sequence[Variant], boot: Bootstrap
) -> dict[str, Any]:
    """Every post by one of the variants, in turn."""
    pairs: list[tuple[JudgedPost, Verdict, str | None]] = []
    for number, variant in enumerate(made):
        own = {one.labelled.post.post_id: one for one in probed[number :: len(made)]}
        changed = judge.with_policies(variant.pack, None)
        await changed.prepare()
        run = await judge_all(changed, [one.labelled for one in own.values()], io.BytesIO())
        pairs += [(own[one.labelled.post.post_id], one.verdict, variant.changed) for one in run.judged]
    return moved(pairs, boot)


def moved(pairs: Sequence[tuple[JudgedPost, Verdict, str | None]], boot: Bootstrap) -> dict[str, Any]:
    """How far scores moved between a post's verdict and another of it, but for the policy that is named.

    `mean_change` is over posts, of the mean over a post's policies; `decisions_changed` the share of posts on which
    the strongest outcome of those policies is another.
    """
    told = [
        (before.labelled.family, *_move(_others(before.verdict, changed), _others(after, changed)))
        for before, after, changed in pairs
        if _others(before.verdict, changed)
    ]
    if not told:
        return {"posts": 0}
    names, means, largest, flipped = zip(*told, strict=True)
    mean, flips = np.array(means), np.array(flipped, float)

    def figures(at: Ints) -> dict[str, float]:
        return {"mean_change": float(mean[at].mean()), "decisions_changed": float(flips[at].mean())}

    family = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return {"posts": len(told), "largest_change": rounded(max(largest)), **boot.block(figures, family)}


def _move(before: dict[str, PolicyVerdict], after: dict[str, PolicyVerdict]) -> tuple[float, float, bool]:
    """Mean and largest change of score, and whether the decision by outcomes alone is another."""
    changes = [abs(part.score - after[name].score) for name, part in before.items()]
    flipped = decide(tuple(before.values()), None) != decide(tuple(after.values()), None)
    return float(np.mean(changes)), max(changes), flipped


def _others(verdict: Verdict, changed: str | None) -> dict[str, PolicyVerdict]:
    return {part.policy_id: part for part in verdict.policies if part.policy_id != changed}
