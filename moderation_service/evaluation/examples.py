"""Raw scores with a known answer, one policy at a time: what a calibration is fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moderation_service.contracts.verdict import Model
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.answers import Bools, Floats, Ints, answers, policies_of
from moderation_service.evaluation.labelled import digest
from moderation_service.evaluation.run import JudgedPost


@dataclass(frozen=True, slots=True)
class Examples:
    """One policy's raw scores, truths and families; posts of a family are held out together."""

    score: Floats
    truth: Bools
    family: Ints


@dataclass(frozen=True, slots=True)
class ExampleSource:
    """All policies' examples, which model's scores they are, and where they are from."""

    policies: Mapping[str, Examples]
    model: Model
    posts: int
    digest: str


def from_judged(judged: Sequence[JudgedPost]) -> ExampleSource:
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
    return ExampleSource(found, judged[0].verdict.model, len(judged), digest(one.labelled for one in judged))
