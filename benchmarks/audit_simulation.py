"""Audits of a stream whose truth is known: do the intervals cover it, what do reviews alone say, what does it cost?

The strata and their probabilities are the sampler's, the rates from Neyman allocation, and the intervals those of the
estimates. Contents that are alike in stratum, truth and copies are drawn together by their number, which gives the same
samples as to draw each.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.command_line import main
from moderation_service.audits.power import expected
from moderation_service.audits.ratio_interval import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    STATES,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
    Floats,
    Measure,
    Tally,
    Z,
    ratio_interval,
)
from moderation_service.audits.sampling import AuditSampler, neyman_rates
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.verdict import Content, Model, PolicyVerdict, Thresholds, Verdict
from moderation_service.settings import AuditSettings

PREVALENCES = {"doxxing": 0.001, "threats": 0.005, "scam": 0.03, "spam": 0.1}
RARE = ("doxxing", "threats")
MEASURES = (Measure.PREVALENCE, Measure.RECALL, Measure.PRECISION)
_Kind = TypeVar("_Kind", bound=BaseModel)
_VIOLATING, _HARMLESS = (0.3, 1.5), (-6.0, 1.5)  # mean and deviation of the scores' logits
_BANDS = (0.01, 0.1, 0.3, 0.6, 0.95)  # a score of each: under a tenth, under half of the threshold, and so on
_EDGES = (0.05, 0.25, 0.5, 0.9)
_THRESHOLDS = Thresholds(review=0.5, block=0.9)
_COPIES, _SHARES = (1, 2, 5), (0.95, 0.04, 0.01)
_REVIEWED = 0.1  # of what is flagged, by users' reports; of what is let go, a share that grows with the score
_RESAMPLES = 200
_FLOORS = (0.5, 0.6, 0.7, 0.8, 0.9)  # of the budget, evenly over all contents


@dataclass(frozen=True)
class Stream:
    """Kinds of contents, by row: `band` of the score and `truth`, a column a policy; `copies`; `count` of contents."""

    band: NDArray[np.intp]
    truth: NDArray[np.bool_]
    copies: Floats
    count: NDArray[np.intp]

    @cached_property
    def state(self) -> NDArray[np.intp]:
        """By kind and policy."""
        flagged = self.band >= len(_EDGES) - 1
        named = np.where(flagged, FALSE_POSITIVE, TRUE_NEGATIVE)
        return np.where(self.truth, np.where(flagged, TRUE_POSITIVE, FALSE_NEGATIVE), named)

    def exact(self, measure: Measure, policy: int) -> float:
        """The measure over the whole stream."""
        weights, state = self.count * self.copies, self.state[:, policy]
        over, under = (weights[np.isin(state, states)].sum() for states in measure.ratio[:2])
        return float(over / under)

    def deviations(self, group: NDArray[np.intp], groups: int) -> Floats:
        """By group of kinds what Neyman allocation asks for, of the recalls of all policies together."""
        sizes, variance = np.bincount(group, self.count, groups), np.zeros(groups)
        for policy in range(len(PREVALENCES)):
            recall, state = self.exact(Measure.RECALL, policy), self.state[:, policy]
            hits, misses = state == TRUE_POSITIVE, state == FALSE_NEGATIVE
            residual = self.copies * (hits - recall * (hits | misses))
            total = (self.count * self.copies)[hits | misses].sum()
            mean = np.bincount(group, self.count * residual, groups) / sizes
            variance += np.bincount(group, self.count * (residual - mean[group]) ** 2, groups) / sizes / total**2
        return np.sqrt(variance)


@dataclass(frozen=True)
class Design:
    """The stratum and the probability of each kind of content."""

    stratum: NDArray[np.intp]
    probability: Floats

    def tally(self, stream: Stream, drawn: Floats, policy: int) -> Tally:
        """Of each run's drawn contents by kind, shape (runs, kinds)."""
        strata = int(self.stratum.max()) + 1
        cell = self.stratum * STATES + stream.state[:, policy]
        membership = np.zeros((len(cell), strata * STATES))
        membership[np.arange(len(cell)), cell] = 1
        sums = [((drawn * stream.copies**power) @ membership).reshape(len(drawn), strata, STATES) for power in range(4)]
        return Tally(np.bincount(self.stratum, stream.count * stream.copies, strata).astype(float), *sums)

    def draw(self, stream: Stream, runs: int, rng: np.random.Generator) -> Floats:
        """How many contents of each kind are drawn in each run."""
        return rng.binomial(stream.count, self.probability, (runs, len(stream.count))).astype(float)


def made_stream(contents: int, seed: int, *, sampled: int = 500_000) -> Stream:
    """Kinds as in a sample of so many contents, their numbers raised to `contents`."""
    rng, policies = np.random.default_rng(seed), len(PREVALENCES)
    truth = rng.random((sampled, policies)) < np.array(list(PREVALENCES.values()))
    logit = np.where(truth, rng.normal(*_VIOLATING, truth.shape), rng.normal(*_HARMLESS, truth.shape))
    band = np.digitize(1 / (1 + np.exp(-logit)), _EDGES)
    copies = rng.choice(len(_COPIES), sampled, p=_SHARES)
    code = np.column_stack([band, truth, copies]) @ len(_BANDS) ** np.arange(2 * policies + 1)
    _, first, count = np.unique(code, return_index=True, return_counts=True)
    sizes = np.array(_COPIES, float)[copies[first]]
    return Stream(band[first], truth[first], sizes, count * max(1, round(contents / sampled)))


def stratified(stream: Stream, budget: float, floor_share: float) -> Design:
    """The sampler's strata, with rates as settings can name them: `audit.rates`, and `audit.policy_rates` of RARE."""
    ones = dict.fromkeys(("allow_low", "allow_middle", "allow_near", "abstain", "review", "block"), 1.0)
    names = _draws(stream, AuditSettings.model_validate({"rates": ones, "policy_rates": dict.fromkeys(RARE, 1.0)}))[0]
    named, group = np.unique([name.rpartition(":")[2] for name in names], return_inverse=True)
    sizes = np.bincount(group, stream.count)
    deviations = stream.deviations(group, len(named))
    floor = floor_share * budget / stream.count.sum()
    rates = neyman_rates(dict(zip(named, sizes, strict=True)), dict(zip(named, deviations, strict=True)), budget, floor)
    settings = {"rates": {name: rates.get(name, 1.0) for name in ones}, "policy_rates": {p: rates[p] for p in RARE}}
    drawn, probability = _draws(stream, AuditSettings.model_validate(settings))
    return Design(np.unique(drawn, return_inverse=True)[1], probability)


def uniform(stream: Stream, budget: float) -> Design:
    """Every content with the same probability."""
    kinds = len(stream.count)
    return Design(np.zeros(kinds, np.intp), np.full(kinds, budget / stream.count.sum()))


def cheapest(stream: Stream, budget: float) -> Design:
    """Of designs with several floors the one with the narrowest intervals of the rarest policy's recall."""
    designs = [stratified(stream, budget, share) for share in _FLOORS]
    return min(designs, key=lambda design: expected_width(stream, design, Measure.RECALL, 0))


def expected_width(stream: Stream, design: Design, measure: Measure, policy: int) -> float:
    """Of the interval in the median sample."""
    tally = design.tally(stream, (stream.count * design.probability)[None, :], policy)
    _, low, high = ratio_interval(expected(tally), measure)
    return float((high - low)[0])


def uniform_labels(stream: Stream, measure: Measure, policy: int, width: float) -> float:
    """Labels with which the interval of a uniform sample is expected to be as wide."""
    low, high = 1.0, float(stream.count.sum())
    while high / low > 1.001:  # noqa: PLR2004 - near enough
        middle = float(np.sqrt(low * high))
        is_enough = expected_width(stream, uniform(stream, middle), measure, policy) <= width  # nan: nothing is found
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def coverage(stream: Stream, design: Design, runs: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """By policy and measure: the truth, the share of runs whose interval covers it, mean value and median width."""
    drawn = design.draw(stream, runs, np.random.default_rng([seed, runs]))
    found = dict[str, dict[str, dict[str, float]]]()
    for policy, name in enumerate(PREVALENCES):
        tally = design.tally(stream, drawn, policy)
        for measure in MEASURES:
            truth = stream.exact(measure, policy)
            value, low, high = ratio_interval(tally, measure)
            found.setdefault(name, {})[measure] = {
                "truth": truth,
                "coverage": float(((low <= truth) & (truth <= high)).mean()),
                "mean": float(value.mean()),
                "width": float(np.median(high - low)),
            }
    return found


def from_reviews(stream: Stream, runs: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """What is computed of a queue's reviews as if they were a random sample: all that was flagged, little else."""
    chance = np.select([stream.band.max(1) >= at for at in (3, 2, 1)], [_REVIEWED, _REVIEWED / 10, _REVIEWED / 100])
    queue = Design(np.zeros(len(chance), np.intp), np.maximum(chance, _REVIEWED / 1000))
    return coverage(stream, queue, runs, seed)


def other_intervals(stream: Stream, design: Design, runs: int, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """By policy and measure the coverage of two other methods: linearisation on the logit scale, and the bootstrap."""
    rng = np.random.default_rng([seed, runs])
    drawn = design.draw(stream, runs, rng)
    resampled = [_resampled(design, sample, rng) for sample in drawn]
    found = dict[str, dict[str, dict[str, float]]]()
    for policy, name in enumerate(PREVALENCES):
        for measure in MEASURES:
            truth, covered = stream.exact(measure, policy), {"logit": 0.0, "bootstrap": 0.0}
            low, high = _logit_interval(design.tally(stream, drawn, policy), measure)
            covered["logit"] = float(((low <= truth) & (truth <= high)).mean())
            for sample in resampled:
                values = ratio_interval(design.tally(stream, sample, policy), measure)[0]
                low, high = np.nanpercentile(values, [2.5, 97.5])
                covered["bootstrap"] += float(low <= truth <= high) / runs
            found.setdefault(name, {})[measure] = covered
    return found


def run(*, contents: int = 10_000_000, labels: int = 100_000, runs: int = 500, seed: int = 2) -> dict[str, Any]:
    """Simulate audits, and print coverage and cost.

    `times`: how many times the labels a uniform sample needs for an interval as wide as the design's median one.

    Args:
        contents: Different contents in the period.
        labels: Audits in the period.
        runs: Samples that are drawn; a fifth as many for other methods.
        seed: Of the stream and of the samples.
    """
    stream = made_stream(contents, seed)
    design = cheapest(stream, labels)
    covered = coverage(stream, design, runs, seed)
    spent = float((stream.count * design.probability).sum())
    costs = {}
    for policy, name in enumerate(PREVALENCES):
        width = covered[name][Measure.RECALL]["width"]
        needed = uniform_labels(stream, Measure.RECALL, policy, width)
        costs[name] = {"recall_width": width, "uniform_labels": round(needed), "times": round(needed / spent, 2)}
    return {
        "labels": round(spent),
        "coverage": covered,
        "from_reviews": from_reviews(stream, runs, seed),
        "costs": costs,
        "other_intervals": other_intervals(stream, design, runs // 5, seed),
    }


def _resampled(design: Design, sample: Floats, rng: np.random.Generator) -> Floats:
    """By kind, shape (_RESAMPLES, kinds): so many contents of each stratum as it has, drawn from them anew."""
    drawn = np.zeros((_RESAMPLES, len(sample)))
    for stratum in np.unique(design.stratum):
        kinds = np.flatnonzero((design.stratum == stratum) & (sample > 0))
        if len(kinds):
            total = int(sample[kinds].sum())
            drawn[:, kinds] = rng.multinomial(total, sample[kinds] / total, _RESAMPLES)
    return drawn


def _logit_interval(tally: Tally, measure: Measure) -> tuple[Floats, Floats]:
    """By the linearised variance, symmetric on the logit scale."""
    value = ratio_interval(tally, measure)[0]
    over, under = (np.isin(np.arange(STATES), states).astype(float) for states in measure.ratio[:2])
    weight = tally.population / np.maximum(tally.copies.sum(-1), 1)
    base = ((weight[..., None] * tally.copies).sum(-2) @ under)[:, None, None]
    residual = (over - value[:, None] * under)[:, None, :] / base
    mean = (tally.copies * residual).sum(-1) / np.maximum(tally.copies.sum(-1), 1)
    variance = (weight**2 * (tally.squares * (residual - mean[..., None]) ** 2).sum(-1)).sum(-1)
    inside = np.clip(value, 1e-9, 1 - 1e-9)
    middle, half = np.log(inside / (1 - inside)), Z * np.sqrt(variance) / (inside * (1 - inside))
    return 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))


def _draws(stream: Stream, settings: AuditSettings) -> tuple[list[str], Floats]:
    """By kind the stratum and the probability that the sampler gives a verdict of that kind."""
    sampler = AuditSampler(settings)
    draws = [draw for scores in stream.band if (draw := sampler.draw(_verdict(scores)))]
    return [draw.stratum for draw in draws], np.array([draw.probability for draw in draws])


def _verdict(bands: NDArray[np.intp]) -> Verdict:
    """With what a draw depends on, and nothing else."""
    policies = tuple(
        _partial(PolicyVerdict, policy_id=policy_id, score=_BANDS[band], thresholds=_THRESHOLDS)
        for policy_id, band in zip(PREVALENCES, bands, strict=True)
    )
    decision = (Decision.ALLOW, Decision.ALLOW, Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)[bands.max()]
    names = dict.fromkeys(("name", "revision", "dtype", "quantization", "prompt_digest", "calibration_id"), "")
    content = _partial(Content, text_sha256=None, language="en", images=())
    model, rest = _partial(Model, **names), {"surface": None, "policy_set_digest": ""}
    return _partial(Verdict, decision=decision, policies=policies, content=content, model=model, **rest)


def _partial(kind: type[_Kind], **fields: Any) -> _Kind:  # noqa: ANN401 - of any of its types
    return kind.model_construct(**fields)


if __name__ == "__main__":
    main(run)
