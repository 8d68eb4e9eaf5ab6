"""A folder of images with a labelled sheet, as a team brings one to a proof of concept; made of benchmark posts."""

import base64
import csv
from collections.abc import Iterable
from pathlib import Path

from moderation_service.demo.benchmark import benchmark
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.loaders import SHEET

SEED, SCALE = 7007, 0.025


def write_sample_sheet(folder: Path, *, seed: int = SEED, scale: float = SCALE) -> Path:
    """Write the images and `labels.csv`, and give its path. The same files for the same seed and scale."""
    posts = [one for one in benchmark(seed, scale) if not one.apart]
    policies = sorted({policy for one in posts for policy in one.labels})
    columns = ["post_id", "file", "text", "language", "twin_of"]
    columns += [f"{kind}:{policy}" for policy in policies for kind in ("label", "attribution")]
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / SHEET
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(_row(one, folder) for one in posts)
    return sheet


def _row(one: Labelled, folder: Path) -> dict[str, str | None]:
    return {
        "post_id": one.post.post_id,
        "file": "|".join(_written(one, folder)),
        "text": one.post.text,
        "language": one.post.language,
        "twin_of": one.twin_of,
        **{f"label:{policy}": "yes" if violates else "no" for policy, violates in one.labels.items()},
        **{f"attribution:{policy}": cls for policy, cls in one.attribution.items()},
    }


def _written(one: Labelled, folder: Path) -> Iterable[str]:
    """The names of the post's images, once they are written."""
    for number, image in enumerate(one.post.images, start=1):
        name = f"{one.post.post_id}-{number}.jpg"
        (folder / name).write_bytes(base64.b64decode(image.data or ""))
        yield name
