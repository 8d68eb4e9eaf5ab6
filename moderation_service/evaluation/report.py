"""One HTML page of a run with its worst errors, without outside addresses and without scripts."""

import base64
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import ImageRef
from moderation_service.contracts.verdict import PolicyVerdict
from moderation_service.evaluation import plots
from moderation_service.evaluation.answers import answers, policies_of
from moderation_service.evaluation.figures import combined_rows
from moderation_service.evaluation.run import JudgedPost, Run
from moderation_service.media.loaded_image import LoadedImages
from moderation_service.telemetry.redaction import redacted

WORST = 20
_SIDE = 320


@dataclass(frozen=True, slots=True)
class Mistake:
    """One policy that was answered wrongly on one post. `found` is None where the post was out of its scope."""

    judged: JudgedPost
    policy: str
    truth: bool
    meant: AttributionClass | None
    found: PolicyVerdict | None
    images: tuple[str, ...] = ()


def worst(judged: Sequence[JudgedPost], count: int = WORST) -> list[Mistake]:
    """The answers on the wrong side of their threshold, the surest first; posts that are apart come last."""
    rows = answers(judged)
    if not len(rows):
        return []
    policies = policies_of(judged)
    wrong = np.flatnonzero(rows.flagged != rows.truth)
    apart = np.array([one.labelled.apart for one in judged], bool)[rows.post[wrong]]
    order = np.lexsort((-np.abs(rows.joint - rows.truth)[wrong], apart))
    return [_mistake(judged[rows.post[at]], policies[rows.policy[at]]) for at in wrong[order][:count]]


async def with_images(
    mistakes: Sequence[Mistake], load: Callable[[Sequence[ImageRef]], Awaitable[LoadedImages]]
) -> list[Mistake]:
    """The same with those images that are still as they were judged, small, as `data:` URLs; `load` is the loader's."""
    shown = []
    for one in mistakes:
        loaded = await load(one.judged.labelled.post.images)
        digests = [content.sha256 for content in one.judged.verdict.content.images]
        pairs = zip(loaded.images, digests, strict=False)
        frames = (image.frames[0] for image, digest in pairs if image.frames and image.sha256 == digest)
        images = tuple(_small(Image.fromarray(frame)) for frame in frames)
        shown.append(Mistake(one.judged, one.policy, one.truth, one.meant, one.found, images))
    return shown


def _mistake(one: JudgedPost, policy: str) -> Mistake:
    parts = (part for part in (*one.verdict.policies, *one.verdict.shadow) if part.policy_id == policy)
    known = one.labelled
    return Mistake(one, policy, known.labels[policy], known.attribution.get(policy), next(parts, None))


def _small(image: Image.Image) -> str:
    image.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


ROWS = {
    "joint": "This service (both together)",
    "text_only": "Words alone",
    "image_only": "Pictures alone",
    "either": "Either alone (two one-modality filters)",
    "always_no": "Always no",
}
"""The service and its baselines, as the tables name them."""


async def render_report(
    run: Run,
    figures: Mapping[str, Any],
    titles: Mapping[str, str],
    load: Callable[[Sequence[ImageRef]], Awaitable[LoadedImages]],
) -> str:
    """The page; `titles` by policy id, `load` is the loader's, which fetches the images of the worst errors anew."""
    return page(run, figures, await with_images(worst(run.judged), load), titles)


def page(run: Run, figures: Mapping[str, Any], mistakes: Sequence[Mistake], titles: Mapping[str, str]) -> str:
    """The page; `titles` by policy id, `mistakes` with their images."""
    every = answers(run.judged)
    apart = np.array([one.labelled.apart for one in run.judged], bool)
    core = every.take(~apart[every.post])
    asked = core.take(combined_rows(core, every))
    drawn = {
        "all": plots.precision_recall(core, "all"),
        "combined": plots.precision_recall(asked, "combined") if len(asked) else "",
        "reliability": plots.reliability(core),
        "confusion": plots.confusion(core),
        "slices": _slices(figures["slices"]),
    }
    environment = Environment(loader=PackageLoader("moderation_service.evaluation", "templates"), autoescape=True)
    environment.filters["figure"] = _figure
    environment.filters["redacted"] = redacted
    return environment.get_template("report.html").render(
        figures=figures,
        plots={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 - drawn by matplotlib, names escaped
        mistakes=mistakes,
        titles=titles,
        rows=ROWS,
    )


def _slices(slices: Mapping[str, Any]) -> str:
    named = [
        (f"{name} *" if row["apart"] else name, row["f1"], row["intervals"]["f1"])
        for name, row in slices.items()
        if row.get("f1") is not None
    ]
    return plots.intervals(named, "F1") if named else ""


def _figure(block: Mapping[str, Any] | None, name: str) -> Markup:
    """A figure with its interval, as a table's cell holds it."""
    value = None if block is None else block.get(name)
    if block is None or value is None:
        return Markup("–")
    spread = block.get("intervals", {}).get(name)
    told = Markup(' <span class="ci">{:.3f} to {:.3f}</span>').format(*spread) if spread else Markup("")
    return Markup("{:.3f}{}").format(value, told)
