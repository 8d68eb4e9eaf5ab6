"""All figures of a run, as the JSON that `moderation evaluate` prints.

Overall figures leave out posts that are apart (`Labelled.apart`); each slice has a row of its own. Beside the
service stand four baselines over the same answers: always no, the words' score alone, the images' score alone,
and either of the two, which is what a stack of two one-modality filters does.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from moderation_service.contracts.enums import AttributionClass, Decision
from moderation_service.evaluation import metrics
from moderation_service.evaluation.answers import CLASSES, UNKNOWN, Answers, Bools, Floats, answers, policies_of
from moderation_service.evaluation.bootstrap import Bootstrap, rounded
from moderation_service.evaluation.decisions import abstentions, against_twins, latency
from moderation_service.evaluation.labelled import digest
from moderation_service.evaluation.run import JudgedPost, Run

_Score = Callable[[Answers], Floats]
_Figures = Callable[[Answers], dict[str, float]]

SCORES: dict[str, _Score] = {
    "joint": lambda rows: rows.joint,
    "always_no": lambda rows: np.zeros(len(rows)),
    "text_only": lambda rows: rows.text,
    "image_only": lambda rows: rows.image,
    "either": lambda rows: rows.either,
}
"""The service and its baselines, as scores of answers."""

UNSEEN, XOR, INJECTION = "unseen_pictograms", "xor", "injection"
"""Slices whose figures have names of their own."""

_COMBINED = CLASSES.index(AttributionClass.COMBINED)


def figures_of(run: Run, *, source: str, left_out: int = 0, bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """Every figure; `source` says where the posts are from, `left_out` how many rows were no labelled posts."""
    boot = bootstrap or Bootstrap()
    every = answers(run.judged)
    apart = np.array([one.labelled.apart for one in run.judged], bool)
    core = every.take(~apart[every.post]) if len(every) else every
    main = [one for one in run.judged if not one.labelled.apart]
    slices = {name: _slice(run.judged, every, name, boot) for name in _names(run.judged)}
    return {
        "schema_version": "1",
        "data": {
            "source": source,
            "digest": digest(one.labelled for one in run.judged),
            "posts": len(run.judged),
            "posts_overall": len(main),
            "left_out": left_out,
            "not_judged": len(run.unjudged),
        },
        "intervals": {"level": 0.95, "resamples": boot.resamples, "seed": boot.seed},
        **_judged_by(run.judged),
        "overall": _table(core, boot),
        "combined": _combined(run.judged, every, core, boot),
        "xor": _xor(run.judged, every, boot),
        "attribution": _attribution(core, boot),
        "calibration": _calibration(core, boot),
        "abstain": abstentions(main, boot),
        "injection": slices[INJECTION].get("against_twins") if INJECTION in slices else None,
        "policies": {
            policy: _policy(core.take(core.policy == number), boot)
            for number, policy in enumerate(policies_of(run.judged))
        },
        "slices": slices,
        "latency_ms": latency(run),
    }


def combined_rows(rows: Answers, every: Answers) -> Bools:
    """Answers that are no violation, or one that only the combination makes; of the policies that have such."""
    policies = np.unique(every.policy[every.meant == _COMBINED])
    chosen: Bools = np.isin(rows.policy, policies) & (~rows.truth | (rows.meant == _COMBINED))
    return chosen


def in_slice(judged: Sequence[JudgedPost], rows: Answers, name: str) -> Answers:
    """The answers on posts of a slice."""
    posts = np.array([name in one.labelled.slices for one in judged], bool)
    return rows.take(posts[rows.post])


def _names(judged: Sequence[JudgedPost]) -> list[str]:
    return list(dict.fromkeys(name for one in judged for name in one.labelled.slices))


def _judged_by(judged: Sequence[JudgedPost]) -> dict[str, Any]:
    if not judged:
        return {"model": None, "policy_set_digest": None}
    verdict = judged[0].verdict
    return {"model": verdict.model.model_dump(mode="json"), "policy_set_digest": verdict.policy_set_digest}


def _table(rows: Answers, boot: Bootstrap) -> dict[str, Any]:
    """Detection and ranking by the joint score and by each baseline."""

    def figures(score: _Score) -> _Figures:
        return lambda at: {**_detection(score)(at), **metrics.ranking(at.truth, score(at))}

    return {name: boot.of_answers(rows, figures(score)) for name, score in SCORES.items()}


def _detection(score: _Score) -> _Figures:
    return lambda at: metrics.detection(at.truth, score(at) >= at.threshold)


_flagged = _detection(SCORES["joint"])


def _combined(judged: Sequence[JudgedPost], every: Answers, core: Answers, boot: Bootstrap) -> dict[str, Any]:
    asked = core.take(combined_rows(core, every))
    unseen = in_slice(judged, every, UNSEEN)
    unseen_block = boot.of_answers(unseen.take(combined_rows(unseen, every)), _flagged)
    whole = every.take(combined_rows(every, every))
    return {
        **boot.of_answers(asked, _flagged),
        "baselines": {
            name: boot.of_answers(asked, _detection(score)) for name, score in SCORES.items() if name != "joint"
        },
        "unseen_pictograms_f1": unseen_block.get("f1"),
        "unseen_pictograms": unseen_block,
        "every_slice_f1": boot.of_answers(whole, _flagged).get("f1"),
    }


def _xor(judged: Sequence[JudgedPost], every: Answers, boot: Bootstrap) -> dict[str, Any] | None:
    """A post is flagged when any policy that only the combination violates is; its score is the largest of theirs."""
    rows = in_slice(judged, every, XOR)
    rows = rows.take(np.isin(rows.policy, np.unique(rows.policy[rows.meant == _COMBINED])))
    if not len(rows):
        return None
    _, starts = np.unique(rows.post, return_index=True)
    truth = np.logical_or.reduceat(rows.truth, starts)

    def block(score: Floats) -> dict[str, Any]:
        flagged = np.logical_or.reduceat(score >= rows.threshold, starts)
        largest = np.maximum.reduceat(score, starts)
        found = boot.block(
            lambda at: {**metrics.detection(truth[at], flagged[at]), **metrics.ranking(truth[at], largest[at])},
            rows.family[starts],
        )
        return {**found, "best_balanced_accuracy": rounded(metrics.best_balanced_accuracy(truth, largest))}

    blocks = {name: block(score(rows)) for name, score in SCORES.items()}
    joint = blocks.pop("joint")
    return {"posts": len(starts), "violations": int(truth.sum()), "joint": joint, "baselines": blocks}


def _attribution(rows: Answers, boot: Bootstrap) -> dict[str, Any]:
    known = rows.take((rows.meant != UNKNOWN) & (rows.told != UNKNOWN))
    found = boot.of_answers(known, lambda at: metrics.attribution(at.meant, at.told))
    spread: dict[str, Any] = found.pop("intervals", {})
    return {
        "answers": len(known),
        "macro_f1": found.get("macro_f1"),
        "f1": {name: found[name] for name in CLASSES if name in found},
        "intervals": spread,
        "cases": {name: int((known.meant == at).sum()) for at, name in enumerate(CLASSES)},
        "confusion": {"classes": list(CLASSES), "counts": metrics.confusion(known.meant, known.told)},
    }


def _calibration(rows: Answers, boot: Bootstrap) -> dict[str, Any]:
    asked = rows.take(rows.asked)
    found = boot.of_answers(asked, lambda at: metrics.calibration(at.truth, at.joint))
    before = metrics.calibration(asked.truth, asked.raw)
    return {**found, "raw": {name: rounded(value) for name, value in before.items()}}


def _policy(rows: Answers, boot: Bootstrap) -> dict[str, Any]:
    """One policy's row: all its figures, and the F1 of each baseline."""

    def figures(at: Answers) -> dict[str, float]:
        asked = at.take(at.asked)
        return {
            **_flagged(at),
            **metrics.ranking(at.truth, at.joint),
            **metrics.calibration(asked.truth, asked.joint),
            **{
                f"{name}_f1": _detection(score)(at)["f1"]
                for name, score in SCORES.items()
                if name not in {"joint", "always_no"}
            },
        }

    return boot.of_answers(rows, figures)


def _slice(judged: Sequence[JudgedPost], every: Answers, name: str, boot: Bootstrap) -> dict[str, Any]:
    posts = [one for one in judged if name in one.labelled.slices]
    rows = in_slice(judged, every, name)
    named = metrics.attribution(rows.meant, rows.told)["macro_f1"]
    twins = against_twins(posts, judged, boot)
    return {
        "posts": len(posts),
        "apart": all(one.labelled.apart for one in posts),
        **boot.of_answers(rows, _flagged),
        "attribution_macro_f1": rounded(named),
        "abstain_rate": rounded(sum(one.verdict.decision is Decision.ABSTAIN for one in posts) / len(posts)),
        **({"against_twins": twins} if twins else {}),
    }
