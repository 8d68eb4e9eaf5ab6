"""Labelled posts as owners have them; docs/labels.md shows each format.

`posts`: JSON lines or CSV of posts, as `moderation judge` takes them, with labels beside.
  JSONL: `labels` {policy id: true, false or null}; optional `attribution` {policy id: class}, `slices` [names] and
  `twin_of`. CSV: a column `label:POLICY` for each policy (1, 0, true, false, yes, no; empty is unknown), optional
  `attribution:POLICY`, `slices` (`|` between them) and `twin_of`.
`hateful_memes`: JSON lines of `id, img, label, text`, pictures relative to the file; the label is that of one policy.
`sheet`: a folder of pictures with `labels.csv`: a column `file` (`|` between several), optional `post_id`,
  `language`, `text`, and the label columns as above, or one column `label` for one policy. Without a text the
  words are those of `cat.txt` beside `cat.jpg`.

A wrong row is left out and named; the rest goes on.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from moderation_service.errors import Misconfigured
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.evaluation.rows import csv_rows, json_rows
from moderation_service.judging.post_files import BadPost, root_of

Format = Literal["posts", "hateful_memes", "sheet"]
SHEET = "labels.csv"

_PLAIN = ("post_id", "language", "surface", "text")
_MEME = {"id", "img", "text"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The labelled posts of a file or folder, and the rows that were left out."""

    posts: tuple[Labelled, ...]
    left_out: tuple[BadPost, ...]
    root: Path


def load(path: Path, policies: Collection[str], *, policy: str | None = None, form: Format | None = None) -> Loaded:
    """Read `path`; its format is seen from the data where none is given.

    `policies` are the ids that labels may name, `policy` the one that a single `label` belongs to.
    Raises Misconfigured where the path, its header or `policy` is wrong, and where no row is left.
    """
    if not path.exists():
        msg = f"{path}: no such file or folder"
        raise Misconfigured(msg)
    form = form or _format_of(path)
    if policy is not None and policy not in policies:
        msg = f"--policy {policy}: no such policy; one of {', '.join(sorted(policies))}"
        raise Misconfigured(msg)
    reader = RowReader(root_of(path), frozenset(policies), policy)
    return loaded({"posts": _posts, "hateful_memes": _memes, "sheet": _sheet}[form](path, reader), str(path), reader)


def loaded(found: Iterable[Labelled | BadPost], source: str, reader: RowReader) -> Loaded:
    """Sort what a reader made of its rows. Raises Misconfigured where no row is left."""
    rows = list(found)
    posts = tuple(row for row in rows if isinstance(row, Labelled))
    left_out = tuple(row for row in rows if isinstance(row, BadPost))
    if not posts:
        first = f"; the first: {left_out[0].where}: {left_out[0].why}" if left_out else ""
        msg = f"{source}: no labelled post in {len(rows)} rows{first}"
        raise Misconfigured(msg)
    return Loaded(posts, left_out, reader.root)


def _format_of(path: Path) -> Format:
    if path.is_dir():
        return "sheet"
    if path.suffix in {".jsonl", ".ndjson"}:
        first = next((row for _, row in islice(json_rows(path), 20) if isinstance(row, dict)), {})
        if "review_id" in first:
            msg = f"{path}: holds reviews; name the posts that they are of with --posts"
            raise Misconfigured(msg)
        return "hateful_memes" if first.keys() >= _MEME and "post_id" not in first else "posts"
    if path.suffix == ".csv":
        return "posts"
    msg = f"{path}: should be a .jsonl or .csv file of labelled posts, or a folder of pictures with {SHEET}"
    raise Misconfigured(msg)


def _posts(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    if path.suffix == ".csv":
        yield from _csv_posts(path, reader)
        return
    for where, row in json_rows(path):
        if isinstance(row, BadPost):
            yield row
        elif not isinstance(row.get("labels"), dict):
            yield BadPost(where, "labels: should be an object of policy ids and true or false")
        else:
            yield reader.row(where, row, row["labels"])


def _csv_posts(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    for where, row in csv_rows(path, needed="post_id"):
        if isinstance(row, BadPost):
            yield row
            continue
        fields: dict[str, Any] = {name: row[name] for name in _PLAIN if row.get(name)}
        fields["images"] = _images(row.get("images", ""))
        yield reader.row(where, {**fields, **_beside(row)}, _labels(row))


def _memes(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    for where, row in json_rows(path):
        if isinstance(row, BadPost):
            yield row
        elif not row.keys() >= _MEME or not isinstance(row["img"], str):
            yield BadPost(where, f"should have {', '.join(sorted(_MEME))} and label")
        else:
            fields = {"post_id": str(row["id"]), "text": row["text"], "images": _images(row["img"])}
            yield reader.row(where, fields, reader.single(row.get("label"), where))


def _sheet(path: Path, reader: RowReader) -> Iterator[Labelled | BadPost]:
    sheet = path / SHEET
    if not sheet.is_file():
        msg = f"{path}: has no {SHEET}; it should have columns file and label:POLICY"
        raise Misconfigured(msg)
    for where, row in csv_rows(sheet, needed="file"):
        if isinstance(row, BadPost):
            yield row
            continue
        first = path / row["file"].partition("|")[0].strip()
        text = row.get("text", "")
        try:
            beside = first.with_suffix(".txt")
            if "text" not in row and beside.is_relative_to(path) and beside.is_file():
                text = beside.read_text(encoding="utf-8-sig").strip()
        except (UnicodeDecodeError, ValueError) as error:
            yield BadPost(where, f"{first.name}: {error}")
            continue
        fields: dict[str, Any] = {
            "post_id": row.get("post_id") or row["file"].partition("|")[0].rpartition(".")[0] or row["file"],
            "text": text,
            "images": _images(row["file"]),
            **({"language": row["language"]} if row.get("language") else {}),
            **_beside(row),
        }
        labels: dict[str, Any] = _labels(row)
        if not labels and "label" in row:
            labels = reader.single(row["label"], where)
        yield reader.row(where, fields, labels)


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


def _images(names: str) -> list[dict[str, str]]:
    """Paths or addresses, `|` between them."""
    kept = (name.strip() for name in names.split("|"))
    return [{"url": name if "://" in name else f"file:{quote(name)}"} for name in kept if name]
