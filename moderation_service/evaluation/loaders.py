"""Labelled posts as owners have them; docs/reference/labels.md shows each format.

`posts`: JSON lines or CSV of posts, as `moderation judge` takes them, with labels beside.
  JSONL: `labels` {policy id: true, false or null}; optional `attribution` {policy id: class}, `slices` [names] and
  `twin_of`. CSV: a column `label:POLICY` for each policy (1, 0, true, false, yes, no; empty is unknown), optional
  `attribution:POLICY`, `slices` (`|` between them) and `twin_of`.
`hateful_memes` and other public sets: see `public_sets`; the label is that of one policy.
`sheet`: a folder of images with `labels.csv`: a column `file` (`|` between several), optional `post_id`,
  `language`, `text`, and the label columns as above, or one column `label` for one policy. Without a text the
  words are those of `cat.txt` beside `cat.jpg`.

A wrong row is left out and named; the rest goes on.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from moderation_service.encodings import decode
from moderation_service.errors import Misconfigured
from moderation_service.evaluation import public_sets
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.public_sets import MEME, PublicSet
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.readers.columns import Columns, misnamed
from moderation_service.readers.folder import text_beside
from moderation_service.readers.input_file import kind_of, root_of
from moderation_service.readers.post_files import COLUMNS, images_of, post_fields
from moderation_service.readers.rows import BadPost, json_rows
from moderation_service.readers.sheet import sheet_rows, unread_columns

Format = Literal["posts", "sheet", PublicSet]
SHEET = "labels.csv"

_FAMILIES = ("label:", "attribution:")
_BESIDE = ("slices", "twin_of")


@dataclass(frozen=True, slots=True)
class LoadedLabels:
    """The labelled posts of a file or folder, the rows that were left out, and a line for each column not read."""

    posts: tuple[Labelled, ...]
    left_out: tuple[BadPost, ...]
    root: Path
    unread: tuple[str, ...] = ()


def load(
    path: Path, policies: Collection[str], *, policy: str | None = None, form: Format | None = None
) -> LoadedLabels:
    """Read `path`; its format is seen from the data where none is given.

    `policies` are the ids that labels may name, `policy` the one that a single `label` belongs to.
    Raises Misconfigured where the path, its header or `policy` is wrong, and where no row is left.
    """
    form = form or _format_of(path)
    if policy is not None and policy not in policies:
        msg = f"--policy {policy}: no such policy; one of {', '.join(sorted(policies))}"
        raise Misconfigured(msg)
    match form:
        case "posts" | "sheet":
            reader = RowReader(root_of(path), frozenset(policies), policy)
            found = loaded((_sheet if form == "sheet" else _posts)(path, reader), str(path), reader)
            return replace(found, unread=tuple(_unread(path, form, reader.policies)))
        case _:
            reader = RowReader(public_sets.root_of(path, form), frozenset(policies), policy)
            return loaded(public_sets.read(path, form, reader), str(path), reader)


def loaded(found: Iterable[Labelled | BadPost], source: str, reader: RowReader) -> LoadedLabels:
    """Sort what a reader made of its rows. Raises Misconfigured where no row is left."""
    rows = list(found)
    posts = tuple(row for row in rows if isinstance(row, Labelled))
    left_out = tuple(row for row in rows if isinstance(row, BadPost))
    if not posts:
        first = f"; the first: {left_out[0].where}: {left_out[0].why}" if left_out else ""
        msg = f"{source}: no labelled post in {len(rows)} rows{first}"
        raise Misconfigured(msg)
    return LoadedLabels(posts, left_out, reader.root)


def _format_of(path: Path) -> Format:
    if path.is_dir():
        return "sheet"
    if kind_of(path) == "jsonl":
        first = next((row for _, row in islice(json_rows(path), 20) if isinstance(row, dict)), {})
        if "review_id" in first:
            msg = f"{path}: holds reviews; name the posts that they are of with --posts"
            raise Misconfigured(msg)
        return "hateful_memes" if first.keys() >= MEME and "post_id" not in first else "posts"
    return "posts"


def _posts(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    if kind_of(path) == "csv":
        yield from _csv_posts(path, reader)
        return
    for where, row in json_rows(path):
        if isinstance(row, BadPost):
            yield row
        elif not isinstance(row.get("labels"), dict):
            yield BadPost(where, "labels: should be an object of policy ids and true or false")
        elif wrong := misnamed(row, COLUMNS.known):
            yield BadPost(where, wrong)
        else:
            yield reader.row(where, row, row["labels"])


def _csv_posts(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    for where, row in sheet_rows(path, _columns_of_posts(reader.policies)):
        if isinstance(row, BadPost):
            yield row
            continue
        try:
            fields = post_fields(row)
        except ValueError as error:
            yield BadPost(where, str(error))
            continue
        labels: dict[str, Any] = _labels(row)
        if not labels and "label" in row:
            labels = reader.single(row["label"], where)
        yield reader.row(where, {**fields, **_beside(row)}, labels)


def _sheet(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    for where, row in sheet_rows(_sheet_of(path), _columns_of_sheet(reader.policies)):
        if isinstance(row, BadPost):
            yield row
            continue
        first = path / row["file"].partition("|")[0].strip()
        text = row.get("text", "")
        try:
            if "text" not in row and first.is_relative_to(path) and (beside := text_beside(first)):
                text = decode(beside.read_bytes()).strip()
        except (OSError, ValueError) as error:
            yield BadPost(where, f"{first.name}: {error}")
            continue
        fields: dict[str, Any] = {
            "post_id": row.get("post_id") or row["file"].partition("|")[0].rpartition(".")[0] or row["file"],
            "text": text,
            "images": images_of(row["file"]),
            **({"language": row["language"]} if row.get("language") else {}),
            **_beside(row),
        }
        labels: dict[str, Any] = _labels(row)
        if not labels and "label" in row:
            labels = reader.single(row["label"], where)
        yield reader.row(where, fields, labels)


def _sheet_of(folder: Path) -> Path:
    """`labels.csv`, however it is written. Raises Misconfigured where there is none."""
    found = next((one for one in sorted(folder.iterdir()) if one.name.lower() == SHEET), None)
    if found is None:
        msg = f"{folder}: has no {SHEET}; it should have columns file and label:POLICY"
        raise Misconfigured(msg)
    return found


def _labels(row: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("label:"): value for name, value in row.items() if name.startswith("label:")}


def _beside(row: Mapping[str, str]) -> dict[str, Any]:
    """What stands beside a post in a CSV row, as in a JSON one."""
    named = {name.removeprefix("attribution:"): row[name] for name in row if name.startswith("attribution:")}
    return {
        "attribution": {name: value for name, value in named.items() if value},
        "slices": [name.strip() for name in row.get("slices", "").split("|") if name.strip()],
        "twin_of": row.get("twin_of") or None,
    }


def _unread(path: Path, form: Format, policies: frozenset[str]) -> Iterator[str]:
    if form == "sheet":
        yield from unread_columns(_sheet_of(path), _columns_of_sheet(policies))
    elif form == "posts" and kind_of(path) == "csv":
        yield from unread_columns(path, _columns_of_posts(policies))


def _columns_of_posts(policies: frozenset[str]) -> Columns:
    return Columns(COLUMNS.key, (*COLUMNS.known, "label", *_BESIDE), _FAMILIES, policies)


def _columns_of_sheet(policies: frozenset[str]) -> Columns:
    return Columns("file", ("file", "post_id", "language", "text", "label", *_BESIDE), _FAMILIES, policies)
