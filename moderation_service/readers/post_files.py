"""Posts from files: JSON lines, CSV, or a folder of images with texts beside them.

Images on disk become `file:` addresses relative to the folder; media resolves them under `media.file_root`.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from moderation_service.contracts.post import ImageRef, Post, read_post
from moderation_service.encodings import decode, not_utf8
from moderation_service.errors import Poison
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.storage import FileReader, is_file_url
from moderation_service.readers.columns import MISNAMED, Columns, misnamed
from moderation_service.readers.folder import FolderPost, scan
from moderation_service.readers.input_file import kind_of, root_of
from moderation_service.readers.rows import BadPost, json_lines
from moderation_service.readers.sheet import sheet_rows, unread_columns

__all__ = ["BadPost", "image_address", "read_posts", "root_of", "unread", "with_images"]

_PLAIN = ("language", "surface", "author_id", "created_at")
COLUMNS = Columns("post_id", ("post_id", "text", "images", "revision", *_PLAIN))
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:|file:", re.IGNORECASE)
_REVISION = re.compile(r"([0-9]{1,19})(\.0+)?")  # a spreadsheet makes 1.0 of 1


def read_posts(path: Path) -> Iterator[Post | BadPost]:
    """Every post of a file or folder, in order; a row that is none is named, and the rest goes on.

    Raises Misconfigured where the path is missing or of no known kind, and where a sheet's header is wrong.
    """
    for _, row in located_posts(path):
        yield row


def located_posts(path: Path) -> Iterator[tuple[str, Post | BadPost]]:
    """As `read_posts`, each with where it stands."""
    if path.is_dir():
        found = scan(path)
        yield from ((wrong.where, wrong) for wrong in found.wrong)
        for one in found.posts:
            where = str(path / one.post_id)
            yield where, _of_folder(where, one)
    elif kind_of(path) == "csv":
        for where, row in sheet_rows(path, COLUMNS):
            yield where, row if isinstance(row, BadPost) else _of_sheet(where, row)
    else:
        for where, line in json_lines(path):
            yield where, line if isinstance(line, BadPost) else _of_json(where, line)


def distinct(path: Path, left_out: list[str]) -> Iterator[Post]:
    """The posts of a file or folder, each id and revision once.

    A line goes to `left_out` for a row that is not a post, and for one with other content under the same id.
    """
    seen: dict[tuple[str, int], tuple[str, int]] = {}
    for where, row in located_posts(path):
        if isinstance(row, BadPost):
            left_out.append(f"{row.where}: {row.why}")
            continue
        content = hash((row.text, row.images, row.language, row.surface))
        first, other = seen.setdefault((row.post_id, row.revision), (where, content))
        if first == where:
            yield row
        elif other != content:
            why = f"{first} has this id and revision with other content; give it an id or a revision of its own"
            left_out.append(f"{where}: post_id {row.post_id}: {why}")


def unread(path: Path) -> Iterator[str]:
    """A line for each column of a sheet, and each file of a folder, that no post uses. Raises as read_posts."""
    if path.is_dir():
        yield from scan(path).skipped
    elif kind_of(path) == "csv":
        yield from unread_columns(path, COLUMNS)


def with_images(post: Post, reader: FileReader) -> Post | BadPost:
    """The post with its images on disk carried as data, as a record on a topic must."""
    carried = []
    for image in post.images:
        if image.url is None or not is_file_url(image.url):
            carried.append(image)
            continue
        try:
            carried.append(ImageRef(data=base64.b64encode(reader.read(image.url)).decode()))
        except ImageFault as fault:
            return BadPost(post.post_id, f"{unquote(image.url.partition(':')[2])}: {fault}")
    return post.model_copy(update={"images": tuple(carried)})


def image_address(name: str) -> str:
    """The address of an image as a sheet names it: a path becomes a `file:` address."""
    return name if _ADDRESS.match(name) else f"file:{quote(name)}"


def images_of(cell: str) -> list[dict[str, str]]:
    """The images that a cell names, `|` between them."""
    return [{"url": image_address(name.strip())} for name in cell.split("|") if name.strip()]


def post_fields(row: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a post from the cells of a sheet. Raises ValueError where a cell is not as it should be."""
    fields: dict[str, Any] = {name: cell for name in _PLAIN if (cell := row.get(name, "").strip())}
    fields["post_id"] = row["post_id"].strip()
    fields["text"] = row.get("text", "")
    fields["images"] = images_of(row.get("images", ""))
    if revision := row.get("revision", "").strip():
        if not (whole := _REVISION.fullmatch(revision)):
            msg = "revision: should be a whole number, such as 2"
            raise ValueError(msg)
        fields["revision"] = int(whole[1])
    return fields


def _of_sheet(where: str, row: Mapping[str, str]) -> Post | BadPost:
    try:
        return _post(where, json.dumps(post_fields(row)).encode())
    except ValueError as error:
        return BadPost(where, str(error))


def _of_json(where: str, line: bytes) -> Post | BadPost:
    post = _post(where, line)
    # Parsed once more only where a name is there that may be another one's: other unknown fields are ignored.
    if isinstance(post, Post) and MISNAMED.search(line) and (wrong := misnamed(json.loads(line), COLUMNS.known)):
        return BadPost(where, wrong)
    return post


def _of_folder(where: str, one: FolderPost) -> Post | BadPost:
    """`cat.jpg` with `cat.txt` is one post, as is either alone; the post's id is the path without its ending."""
    try:
        text = decode(one.text.read_bytes()).strip() if one.text else ""
    except ValueError as error:
        return BadPost(where, f"{one.text}: {error}")
    except OSError as error:
        return BadPost(where, f"{one.text}: can't be read ({error.strerror})")
    fields = {"post_id": one.post_id, "text": text, "images": [{"url": f"file:{quote(name)}"} for name in one.images]}
    return _post(where, json.dumps(fields).encode())


def _post(where: str, value: bytes) -> Post | BadPost:
    try:
        return read_post(value)
    except Poison as error:
        return BadPost(where, _why(error, value))


def _why(error: Poison, value: bytes) -> str:
    if error.reason == "not_json":
        try:
            value.decode()
        except UnicodeDecodeError:
            return f"the value is not JSON: {not_utf8(value)}"
    return str(error)
