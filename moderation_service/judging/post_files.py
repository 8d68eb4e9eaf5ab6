"""Posts from files: JSON lines, CSV, or a folder of pictures with texts beside them.

Pictures on disk become `file:` addresses relative to the folder; media resolves them under `media.file_root`.
"""

import base64
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from moderation_service.contracts.post import ImageRef, Post, read_post
from moderation_service.errors import Misconfigured, Poison
from moderation_service.media.files import FileReader
from moderation_service.media.outcome import ImageFault

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what surrogateescape makes of other bytes
_CSV_PLAIN = ("post_id", "language", "surface", "author_id", "created_at", "text")


@dataclass(frozen=True, slots=True)
class BadPost:
    """A row that is no post: where it stands, and why."""

    where: str
    why: str


def root_of(path: Path) -> Path:
    """The folder that the pictures' addresses are relative to."""
    return path if path.is_dir() else path.parent


def read_posts(path: Path) -> Iterator[Post | BadPost]:
    """Every post of a file or folder, in order; a row that is none is named, and the rest goes on.

    Raises Misconfigured where the path is missing or of no known kind.
    """
    if path.is_dir():
        yield from _folder(path)
    elif not path.is_file():
        msg = f"{path}: no such file or folder"
        raise Misconfigured(msg)
    elif path.suffix in {".jsonl", ".ndjson"}:
        yield from _jsonl(path)
    elif path.suffix == ".csv":
        yield from _csv(path)
    else:
        msg = f"{path}: should be a .jsonl or .csv file of posts, or a folder of pictures with texts"
        raise Misconfigured(msg)


def with_pictures(post: Post, reader: FileReader) -> Post | BadPost:
    """The post with its pictures on disk carried as data, as a record on a topic must."""
    carried = []
    for image in post.images:
        if image.url is None or not image.url.startswith("file:"):
            carried.append(image)
            continue
        try:
            carried.append(ImageRef(data=base64.b64encode(reader.read(image.url)).decode()))
        except ImageFault as fault:
            return BadPost(post.post_id, f"{unquote(image.url[len('file:') :])}: {fault}")
    return post.model_copy(update={"images": tuple(carried)})


def _jsonl(path: Path) -> Iterator[Post | BadPost]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _post(f"{path}:{number}", line)


def _csv(path: Path) -> Iterator[Post | BadPost]:
    """Columns post_id, text, images (paths or addresses, `|` between them), revision, language, surface, author_id."""
    # Bytes that are no UTF-8 become lone surrogates: one row is left out, not the rest.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        if "post_id" not in (reader.fieldnames or ()):
            msg = f"{path}:1: the header has no column post_id; known are {', '.join(_CSV_PLAIN)}, revision, images"
            raise Misconfigured(msg)
        try:
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if NOT_UTF8.search("".join(cell for cell in row.values() if isinstance(cell, str))):
                    yield BadPost(where, "not UTF-8")
                    continue
                fields: dict[str, Any] = {name: row[name] for name in _CSV_PLAIN if row.get(name)}
                if (row.get("revision") or "").strip():
                    fields["revision"] = int(row["revision"]) if row["revision"].isdigit() else row["revision"]
                names = (name.strip() for name in (row.get("images") or "").split("|"))
                fields["images"] = [{"url": _address(name)} for name in names if name]
                yield _post(where, json.dumps(fields).encode())
        except csv.Error as error:
            yield BadPost(f"{path}:{reader.line_num}", str(error))


def _folder(path: Path) -> Iterator[Post | BadPost]:
    """`cat.jpg` with `cat.txt` is one post, as is either alone; the post's id is the path without its ending."""
    stems: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in PICTURES | {".txt"}:
            stems.setdefault(file.relative_to(path).with_suffix("").as_posix(), []).append(file)
    for stem, files in stems.items():
        fields: dict[str, Any] = {"post_id": stem, "images": []}
        try:
            for file in files:
                if file.suffix == ".txt":
                    fields["text"] = file.read_text(encoding="utf-8-sig").strip()
                else:
                    fields["images"].append({"url": _address(file.relative_to(path).as_posix())})
        except UnicodeDecodeError:
            yield BadPost(str(path / stem), "cannot be read as UTF-8")
            continue
        yield _post(str(path / stem), json.dumps(fields).encode())


def _address(name: str) -> str:
    return name if "://" in name or name.startswith("data:") else f"file:{quote(name)}"


def _post(where: str, value: bytes) -> Post | BadPost:
    try:
        return read_post(value)
    except Poison as error:
        return BadPost(where, str(error))
