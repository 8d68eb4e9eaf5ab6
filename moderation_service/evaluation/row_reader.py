"""One row's fields and labels to a labelled post, or to why the row is left out."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import Post, read_post
from moderation_service.errors import Misconfigured, Poison
from moderation_service.evaluation.labelled import Labelled
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.storage import FileReader, is_file_url
from moderation_service.readers.rows import BadPost

_WORDS = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
    **dict.fromkeys(("0", "0.0", "false", "no"), False),  # a spreadsheet makes 1.0 of 1
}


class _WrongRow(Exception):  # noqa: N818 - an outcome, caught in this file
    """Why a row is left out."""


class RowReader:
    """Turns one row's fields into a labelled post; keeps the ids seen."""

    def __init__(self, root: Path, policies: frozenset[str], policy: str | None) -> None:
        self.root = root
        self.policies = policies
        self._policy = policy
        self._seen: set[str] = set()

    def row(self, where: str, fields: Mapping[str, Any], labels: Mapping[str, Any]) -> Labelled | BadPost:
        """A post of `fields`, with `labels`; or why it is none."""
        try:
            post = read_post(json.dumps(fields).encode())
            known = {name: _truth(name, value) for name, value in labels.items()}
            told = {name: value for name, value in known.items() if value is not None}
            self._check_policies(told)
            return self._once(self._checked(post, told, fields))
        except (_WrongRow, Poison) as wrong:
            return BadPost(where, str(wrong))

    def single(self, label: object, where: str) -> dict[str, Any]:
        """The labels of a row that has just one. Raises Misconfigured where it is not said whose it is."""
        if self._policy is None:
            msg = f"{where}: a label of which policy? Name it with --policy; one of {', '.join(sorted(self.policies))}"
            raise Misconfigured(msg)
        return {self._policy: label}

    def _check_policies(self, named: Collection[str]) -> None:
        if not named:
            msg = "no label"
            raise _WrongRow(msg)
        for unknown in sorted(set(named) - self.policies):
            msg = f"labels.{unknown}: no such policy; one of {', '.join(sorted(self.policies))}"
            raise _WrongRow(msg)

    def _checked(self, post: Post, labels: dict[str, bool], fields: Mapping[str, Any]) -> Labelled:
        for image in post.images:
            if image.url and is_file_url(image.url):
                self._check_image(image.url)
        slices = fields.get("slices") or []
        if not isinstance(slices, list) or not all(isinstance(name, str) and name for name in slices):
            msg = "slices: should be a list of names"
            raise _WrongRow(msg)
        twin = fields.get("twin_of")
        if twin is not None and not isinstance(twin, str):
            msg = "twin_of: should be a post_id"
            raise _WrongRow(msg)
        return Labelled(post, labels, _attribution(fields.get("attribution") or {}, labels), tuple(slices), twin)

    def _check_image(self, url: str) -> None:
        try:
            FileReader(self.root, 0).find(url)
        except ImageFault as fault:
            name = unquote(url.partition(":")[2])
            beside = (self.root / name).parent
            there = [other.name for other in beside.iterdir()] if beside.is_dir() else []
            close = next((other for other in there if other.lower() == Path(name).name.lower()), None)
            msg = f"image {name}: {fault} under {self.root}" + (f"; did you mean {close}?" if close else "")
            raise _WrongRow(msg) from None

    def _once(self, labelled: Labelled) -> Labelled:
        """Verdicts are found again by the post's id, so an id stands for one row."""
        if labelled.post.post_id in self._seen:
            msg = f"post_id {labelled.post.post_id}: an earlier row has it"
            raise _WrongRow(msg)
        self._seen.add(labelled.post.post_id)
        return labelled


def _attribution(given: object, labels: Mapping[str, bool]) -> dict[str, AttributionClass]:
    if not isinstance(given, dict):
        msg = "attribution: should be an object of policy ids and classes"
        raise _WrongRow(msg)
    told = dict[str, AttributionClass]()
    for name, cls in given.items():
        if cls is None:
            continue
        if cls not in tuple(AttributionClass):
            msg = f"attribution.{name}: {cls!r} is not a class; one of {', '.join(AttributionClass)}"
            raise _WrongRow(msg)
        told[name] = AttributionClass(cls)
        if labels.get(name) is not told[name].is_violation:
            msg = f"attribution.{name}: {cls} does not go with the label {labels.get(name)}"
            raise _WrongRow(msg)
    return told


def _truth(name: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    if isinstance(value, str) and not value.strip():
        return None
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    msg = f"labels.{name}: {value!r} is not a label; should be 1, 0, true, false, yes, no, or nothing where unknown"
    raise _WrongRow(msg)
