"""Golden sets: labelled posts kept under a name, images included, and the outcomes that a change is measured by."""

import asyncio
import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from moderation_service.contracts.base import Contract, Digest, Identifier, Moment, fault_of, validate_json
from moderation_service.contracts.enums import Decision, ImageStatus
from moderation_service.contracts.post import ImageRef
from moderation_service.contracts.verdict import Model, Probability
from moderation_service.errors import Misconfigured
from moderation_service.evaluation import loaders
from moderation_service.evaluation.labelled import Labelled, digest
from moderation_service.judging.evidence import EvidenceLoader
from moderation_service.judging.known_content import find_known_content
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack
from moderation_service.readers.bank_files import load_banks, replacing
from moderation_service.readers.rows import BadPost, json_rows
from moderation_service.settings import GoldenSettings, Settings

_POSTS, _BASELINE = ".jsonl", ".baseline.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEPT = {"post_id", "revision", "language", "surface", "text", "images"}
ROUTED = "has a route: nothing of such a post may be in a golden set"


class GoldenOutcome(Contract):
    """What was decided on one post: the score of each labelled policy that was asked, and those violated."""

    decision: Decision
    scores: dict[Identifier, Probability]
    violated: tuple[Identifier, ...]


class JudgedBy(Contract):
    """All inputs of an outcome besides the post: each policy's digest, and the model with prompt and calibration."""

    policies: dict[Identifier, Digest]
    policy_set_digest: Digest
    model: Model

    def changes(self, other: Self) -> list[str]:
        """A line for each input that is another one in `other`."""
        before, after = self.policies, other.policies
        said = [
            f"policy {name}: {'added' if name not in before else 'removed' if name not in after else 'changed'}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        was, now = self.model.model_dump(), other.model.model_dump()
        return [*said, *(f"model.{name}: {was[name]} → {now[name]}" for name in was if was[name] != now[name])]


class Baseline(Contract):
    """The outcomes by post id that a change must not worsen; `data` is the digest of the set that they are of."""

    schema_version: Literal["1"] = "1"
    data: Digest
    recorded_at: Moment
    judged_by: JudgedBy
    posts: dict[Identifier, GoldenOutcome]


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The files of one set: `NAME.jsonl`, posts with labels as `evaluate` reads them, and `NAME.baseline.json`."""

    name: str
    file: Path
    baseline_file: Path

    @classmethod
    def named(cls, settings: GoldenSettings, name: str) -> Self:
        """The set of that name, which need not exist yet. Raises Misconfigured for a wrong name or without a folder."""
        if not _NAME.fullmatch(name):
            msg = f"{name}: no name of a golden set; should be a-z, 0-9, - and _, at most 64 characters"
            raise Misconfigured(msg)
        folder = _folder(settings)
        return cls(name, folder / f"{name}{_POSTS}", folder / f"{name}{_BASELINE}")

    @classmethod
    def every(cls, settings: GoldenSettings) -> list[Self]:
        """All sets of `golden.path`, by name. Raises as `named`."""
        files = sorted(_folder(settings).glob(f"*{_POSTS}"))
        return [cls.named(settings, file.name.removesuffix(_POSTS)) for file in files]

    def load(self) -> tuple[Labelled, ...]:
        """The posts in their order. Raises Misconfigured for a set that is missing or empty, and for a wrong row."""
        if not self.file.is_file():
            msg = f"{self.file}: no such golden set; fill it with `moderation golden add {self.name} LABELLED`"
            raise Misconfigured(msg)
        labels = (row.get("labels") for _, row in json_rows(self.file) if isinstance(row, dict))
        policies = {policy for one in labels if isinstance(one, dict) for policy in one}  # also those that are gone
        found = loaders.load(self.file, policies, form="posts")
        if found.left_out:
            msg = f"{found.left_out[0].where}: {found.left_out[0].why}"
            raise Misconfigured(msg)
        return found.posts

    def save(self, posts: Iterable[Labelled]) -> None:
        """Replace the posts in one step."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as file:
            file.writelines(f"{_row(one)}\n" for one in posts)

    def baseline(self) -> Baseline:
        """The recorded outcomes. Raises Misconfigured where there are none, or the file is wrong."""
        try:
            return validate_json(Baseline, self.baseline_file.read_bytes())
        except FileNotFoundError:
            msg = f"{self.baseline_file}: no baseline; record one: `moderation golden baseline {self.name}`"
            raise Misconfigured(msg) from None
        except ValidationError as error:
            msg = f"{self.baseline_file}: {fault_of(error)}; record it anew"
            raise Misconfigured(msg) from error

    def baseline_of(self, posts: Iterable[Labelled]) -> Baseline:
        """The recorded outcomes of these posts. Raises Misconfigured also where they were changed since."""
        baseline = self.baseline()
        if digest(posts) != baseline.data:
            msg = (
                f"{self.file}: posts or labels have changed since the baseline; record it anew by what is in force:"
                f" `moderation golden baseline {self.name}`"
            )
            raise Misconfigured(msg)
        return baseline

    def record(self, baseline: Baseline) -> None:
        """Replace the baseline in one step."""
        with replacing(self.baseline_file) as file:
            file.write(baseline.model_dump_json(indent=1) + "\n")


async def carried(given: Sequence[Labelled], settings: Settings, pack: PolicyPack) -> list[Labelled | BadPost]:
    """The posts as a set keeps them: images as data, and nothing of the author.

    Left out: a post with an image that can't be loaded, and one with a route, by its labels or by a bank of files.
    """
    routed = {policy.id for policy in pack.policies if policy.route}
    banks = await asyncio.to_thread(load_banks, settings.banks.path)
    async with ImageLoader(settings.media, keeps_bytes=True) as loader:
        evidence_loader = EvidenceLoader(settings.media, loader)

        async def carry(one: Labelled) -> Labelled | BadPost:
            if any(violates and policy in routed for policy, violates in one.labels.items()):
                return BadPost(one.post.post_id, ROUTED)
            async with evidence_loader.load(one.post) as evidence:
                if find_known_content(banks, evidence).route:
                    return BadPost(one.post.post_id, ROUTED)
                images = []
                for number, image in enumerate(evidence.loaded.images, start=1):
                    if image.data is None or image.status != ImageStatus.JUDGED:
                        return BadPost(one.post.post_id, f"image {number}: {image.status}")
                    data = base64.b64encode(image.data).decode()
                    images.append(ImageRef(data=data, media_type=image.media_type))
            kept: dict[str, object] = {"images": tuple(images), "author_id": None, "created_at": None, "metadata": {}}
            return replace(one, post=one.post.model_copy(update=kept))

        return await asyncio.gather(*map(carry, given))


def _folder(settings: GoldenSettings) -> Path:
    if settings.path is None:
        msg = "golden.path: is not set; name the folder of the golden sets"
        raise Misconfigured(msg)
    return settings.path


def _row(one: Labelled) -> str:
    fields = one.post.model_dump(mode="json", include=_KEPT, exclude_none=True)
    beside = {"attribution": dict(one.attribution), "slices": list(one.slices), "twin_of": one.twin_of}
    row = {**fields, "labels": dict(one.labels), **{name: value for name, value in beside.items() if value}}
    return json.dumps(row, ensure_ascii=False)
