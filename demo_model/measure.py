"""How well the demonstration model does on fresh synthetic posts, as JSON.

`python -m demo_model.measure [--posts 1500] [--model FOLDER] [--layout NAME]`
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

from moderation_service.contracts.enums import AttributionClass, Mode
from moderation_service.demo.posts import LabelledPost, draw, matched, posts
from moderation_service.demo.texts import injection
from moderation_service.demo.truths import PAIRS
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.scorer import Scorer
from moderation_service.judging.decision import attribute
from moderation_service.policies.pack import load_pack
from moderation_service.settings import DEMO_MODEL, EngineSettings, LayoutName, shipped_policies

if TYPE_CHECKING:
    from moderation_service.contracts.engine_input import Language, Questionnaire

LOG = logging.getLogger(__name__)

THRESHOLD = 0.5
"""The shipped policies' review threshold."""

LOW_MASS = 0.5
"""Under this label mass the service abstains."""

BATCH = 64
CLASSES = (
    AttributionClass.COMBINED,
    AttributionClass.TEXT_ONLY,
    AttributionClass.IMAGE_ONLY,
    AttributionClass.EITHER,
    AttributionClass.CONTEXT_MITIGATED,
    AttributionClass.NONE,
)
WITH_BOTH = {AttributionClass.COMBINED, AttributionClass.NONE}
LAYOUTS: tuple[LayoutName, ...] = ("post_first", "policies_first")
SEEDS = {
    "trained_wordings": 9001,
    "held_out_wordings": 9002,
    "unseen_pictograms": 9003,
    "reworded": 9006,
    "xor": 9004,
    "orders": 9005,
}
"""Seeds that training never uses."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores [posts, views, policies] of a set (views: joint, words alone, images alone) and label masses."""

    scores: NDArray[np.float64]
    masses: NDArray[np.float64]


class Reader:
    """Scores posts in one layout with the local engine's own forward."""

    def __init__(self, model: Path, layout: LayoutName) -> None:
        """Load the checkpoint of a folder."""
        settings = EngineSettings(model=str(model), layout=layout)
        self._scorer = Scorer(
            load_checkpoint(settings), layout, settings.prompt_mode, max_context_tokens=1024, max_batch_tokens=16384
        )
        pack = load_pack(shipped_policies())
        languages: tuple[Language, ...] = ("en", "zh")
        self._packs: dict[Language, Questionnaire] = {
            each: pack.questionnaire(each, Mode.ENFORCE) for each in languages
        }

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies, in the order of the scores."""
        return tuple(question.policy_id for question in self._packs["en"].questions)

    def read(self, made: Sequence[LabelledPost]) -> Reading:
        """Score every view of every post by every policy."""
        requests = [request for post in made for request in self._views(post)]
        labels = [
            scored.labels
            for start in range(0, len(requests), BATCH)
            for scored in self._scorer.score(requests[start : start + BATCH])
        ]
        shape = (len(made), 3, len(self.policies))
        return Reading(
            np.array([[label.score for label in row] for row in labels]).reshape(shape),
            np.array([[label.mass for label in row] for row in labels]).reshape(shape),
        )

    def _views(self, post: LabelledPost) -> list[ScoreRequest]:
        pack = self._packs[post.draft.language]
        asked = tuple(range(len(pack.questions)))
        pixels = tuple(np.asarray(image) for image in post.images)
        return [
            ScoreRequest(text, images, pack, asked)
            for text, images in ((post.draft.text, pixels), (post.draft.text, ()), ("", pixels))
        ]


def labelled_figures(made: Sequence[LabelledPost], reading: Reading, policies: Sequence[str]) -> dict[str, Any]:
    """F1 of combined violations, attribution, and how sure the labels are, on a set of posts."""
    true = [post.draft.truths[policy].attribution for post in made for policy in policies]
    told = [
        _attributed(post, scores[:, number])
        for post, scores in zip(made, reading.scores, strict=True)
        for number in range(len(policies))
    ]
    each = f1_score(true, told, labels=list(CLASSES), average=None, zero_division=0)
    images = np.array([len(post.images) for post in made])
    chinese = np.array([post.draft.language == "zh" for post in made])
    everything = np.ones(len(made), bool)
    return {
        "posts": len(made),
        "combined": _combined(made, reading, policies, everything),
        "combined_f1_by_policy": {
            policy: _combined(made, reading, policies, everything, only=policy)["f1"]
            for policy in policies
            if policy in PAIRS or policy == "violence"
        },
        "combined_f1_by_images": {
            str(count): _combined(made, reading, policies, images == count)["f1"] for count in (1, 2, 3)
        },
        "combined_f1_by_language": {
            name: _combined(made, reading, policies, which)["f1"] for name, which in (("en", ~chinese), ("zh", chinese))
        },
        "attribution_macro_f1": _rounded(np.mean(each)),
        "attribution_f1": {name: _rounded(value) for name, value in zip(CLASSES, each, strict=True)},
        "attribution_cases": {name: true.count(name) for name in CLASSES},
        "label_mass_low_share": _rounded(np.mean(reading.masses < LOW_MASS)),
        "label_mass_mean": _rounded(np.mean(reading.masses)),
    }


def xor_figures(harmful: NDArray[np.bool_], reading: Reading, policies: Sequence[str]) -> dict[str, float]:
    """AUROC of each view on the set that neither modality alone can solve; a post's score is its largest of five."""
    five = [number for number, policy in enumerate(policies) if policy in PAIRS]
    largest = reading.scores[:, :, five].max(-1)
    views = ("joint", "text_alone", "image_alone")
    return {view: _rounded(roc_auc_score(harmful, largest[:, at])) for at, view in enumerate(views)}


def order_figures(made: Sequence[LabelledPost], reader: Reader) -> dict[str, float]:
    """How often words that give the model orders change whether a policy is violated (wordings never trained on)."""
    given: list[LabelledPost] = []
    for number, post in enumerate(made):
        rng = np.random.default_rng([SEEDS["orders"], number])
        order = injection(post.draft.language, rng, held_out=True)
        given.append(LabelledPost(replace(post.draft, text=f"{post.draft.text} {order}"), post.images))
    before = reader.read(made).scores[:, 0] >= THRESHOLD
    after = reader.read(given).scores[:, 0] >= THRESHOLD
    return {
        "violations_lost": _rounded((before & ~after).sum() / max(1, before.sum())),
        "violations_made_up": _rounded((~before & after).sum() / max(1, (~before).sum())),
    }


def measure(model: Path, count: int, layouts: Sequence[LayoutName] = LAYOUTS) -> dict[str, Any]:
    """All figures of the layouts."""
    sets = {
        "trained_wordings": list(posts(count, SEEDS["trained_wordings"])),
        "held_out_wordings": list(posts(count, SEEDS["held_out_wordings"], held_out=True)),
        "reworded": list(posts(count, SEEDS["reworded"], held_out="reworded")),
        "unseen_pictograms": list(posts(count, SEEDS["unseen_pictograms"], unseen=True)),
    }
    crossed, harmful = [], []
    for number in range(count // 2):
        rng = np.random.default_rng([SEEDS["xor"], number])
        sketched, same = matched(rng, held_out=True)
        crossed.append(draw(sketched, rng))
        harmful.append(same)
    figures: dict[str, Any] = {}
    for layout in layouts:
        reader = Reader(model, layout)
        own: dict[str, Any] = {}
        for name, made in sets.items():
            LOG.info("%s: %s", layout, name)
            own[name] = labelled_figures(made, reader.read(made), reader.policies)
        own["xor_auroc"] = xor_figures(np.array(harmful), reader.read(crossed), reader.policies)
        own["orders_in_the_post"] = order_figures(sets["held_out_wordings"][: count // 3], reader)
        figures[layout] = own
    return figures


def _combined(
    made: Sequence[LabelledPost],
    reading: Reading,
    policies: Sequence[str],
    which: NDArray[np.bool_],
    only: str | None = None,
) -> dict[str, Any]:
    """Precision, recall and F1 over the questions that only image and words together can make a violation.

    Those are all questions of the five policies of `PAIRS`, and of `violence` those where neither the image
    nor the words violate it alone.
    """
    true, told = [], []
    for post, scores, counts in zip(made, reading.scores, which, strict=True):
        for number, policy in enumerate(policies):
            truth = post.draft.truths[policy]
            asked = policy in PAIRS or (policy == "violence" and truth.attribution in WITH_BOTH)
            if counts and asked and only in {None, policy}:
                true.append(truth.violated)
                told.append(bool(scores[0, number] >= THRESHOLD))
    precision, recall, f1, _ = precision_recall_fscore_support(true, told, average="binary", zero_division=0)
    return {
        "f1": _rounded(f1),
        "precision": _rounded(precision),
        "recall": _rounded(recall),
        "violations": sum(true),
        "questions": len(true),
    }


def _attributed(post: LabelledPost, views: NDArray[np.float64]) -> AttributionClass:
    """The class by the service's own rule; a view of what the post does not have counts as none."""
    text = float(views[1]) if post.draft.text else None
    image = float(views[2]) if post.images else None
    return attribute(float(views[0]), text, image, THRESHOLD).class_


def _rounded(value: SupportsFloat) -> float:
    return round(float(value), 4)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=1500, help="posts in each set")
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="folder of the checkpoint")
    parser.add_argument("--layout", choices=LAYOUTS, help="only this layout")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    figures = measure(chosen.model, chosen.posts, (chosen.layout,) if chosen.layout else LAYOUTS)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
