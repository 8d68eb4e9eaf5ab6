"""Raw scores with a known answer, one policy at a time: what a calibration is fitted on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Model, Verdict
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.answers import Bools, Floats, Ints, answers, policies_of
from moderation_service.evaluation.labelled import digest
from moderation_service.evaluation.run import Judged
from moderation_service.policies.digest import digest_of


@dataclass(frozen=True, slots=True)
class Examples:
    """One policy's raw scores, truths and families; posts of a family are held out together."""

    score: Floats
    truth: Bools
    family: Ints


@dataclass(frozen=True, slots=True)
class Source:
    """All policies' examples, which model's scores they are, and where they are from."""

    policies: Mapping[str, Examples]
    model: Model
    posts: int
    digest: str


def from_judged(judged: Sequence[Judged]) -> Source:
    """Examples from labelled posts; a policy in whose scope a post is not has no score there.

    Raises Misconfigured where no post was judged.
    """
    if not judged:
        msg = "calibrate: no post was judged"
        raise Misconfigured(msg)
    rows = answers(judged)
    rows = rows.take(rows.asked)
    found = {}
    for number, policy in enumerate(policies_of(judged)):
        own = rows.take(rows.policy == number)
        found[policy] = Examples(own.raw, own.truth, own.family)
    return Source(found, judged[0].verdict.model, len(judged), digest(one.labelled for one in judged))


def from_reviews(reviews: Iterable[Review], verdicts: Iterable[Verdict]) -> Source:
    """Examples from people's reviews of verdicts: the last word on each policy of each verdict counts.

    Only verdicts of the latest verdict's model, revision and prompt are taken: scores of others are not
    comparable. What people review is mostly what was flagged, so such examples say little of low scores.
    Raises Misconfigured where no review goes with a verdict.
    """
    known = {verdict.verdict_id: verdict for verdict in verdicts}
    said = {
        (review.verdict_id, part.policy_id): part.violated
        for review in sorted(reviews, key=lambda review: review.reviewed_at)
        if review.verdict_id in known
        for part in review.policies
    }
    if not said:
        msg = "calibrate: no review goes with a verdict"
        raise Misconfigured(msg)
    model = max((known[name] for name, _ in said), key=lambda verdict: verdict.judged_at).model
    rows: dict[str, list[tuple[float, bool, str]]] = {}
    for (name, policy), violated in sorted(said.items()):
        if _same(known[name].model, model):
            for part in (*known[name].policies, *known[name].shadow):
                if part.policy_id == policy:
                    rows.setdefault(policy, []).append((part.raw_score, violated, known[name].post_id))
    found = {policy: _examples(kept) for policy, kept in rows.items()}
    posts = {post for kept in rows.values() for _, _, post in kept}
    return Source(found, model, len(posts), digest_of([[policy, *map(list, kept)] for policy, kept in rows.items()]))


def _same(one: Model, other: Model) -> bool:
    return (one.name, one.revision, one.prompt_digest) == (other.name, other.revision, other.prompt_digest)


def _examples(rows: Sequence[tuple[float, bool, str]]) -> Examples:
    scores, truths, posts = zip(*rows, strict=True)
    family = np.unique(posts, return_inverse=True)[1].astype(np.int64)
    return Examples(np.array(scores, float), np.array(truths, bool), family)
