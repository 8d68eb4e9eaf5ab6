"""Rows of files and topics, each with the place where it stands, or with why it is none."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation_service.encodings import UTF8_BOM, encoding_of, not_utf8
from moderation_service.readers.input_file import DAMAGED, open_input, open_text


@dataclass(frozen=True, slots=True)
class BadPost:
    """A row that is not a post: where it stands, and why."""

    where: str
    why: str


Row = tuple[str, dict[str, Any] | BadPost]
"""`file:line` or `topic:partition:offset`, and what stands there."""


def json_lines(path: Path) -> Iterator[tuple[str, bytes | BadPost]]:
    """The lines of a file of JSON lines; blank lines are nothing."""
    number = 0
    try:
        with _byte_lines(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line := line.removeprefix(UTF8_BOM).strip():
                    yield f"{path}:{number}", line
    except DAMAGED as error:
        where = f"{path}:{number + 1}"
        yield where, BadPost(where, cut_off(error))


@contextmanager
def _byte_lines(path: Path) -> Iterator[Iterable[bytes]]:
    """The lines in UTF-8, which they mostly are in the file."""
    with open_input(path) as file:
        encoding = encoding_of(file.read(4))
        file.seek(0)
        if encoding.startswith("utf-8"):
            yield file
            return
    with open_text(path) as text:
        yield (line.encode(errors="replace") for line in text)


def json_rows(path: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines."""
    for where, line in json_lines(path):
        yield (where, line) if isinstance(line, BadPost) else json_row(where, line)


def json_row(where: str, value: bytes) -> Row:
    """The object that `value` is."""
    try:
        row = json.loads(value)
    except UnicodeDecodeError:
        return where, BadPost(where, f"not JSON: {not_utf8(value)}")
    except ValueError as error:
        return where, BadPost(where, f"not JSON: {error}")
    except RecursionError:
        return where, BadPost(where, "not JSON: nested too deep")
    return where, row if isinstance(row, dict) else BadPost(where, "should be a JSON object")


def cut_off(error: BaseException) -> str:
    """Why a file can't be read to its end."""
    return f"the file is damaged or cut off here ({error}), what follows is missing; copy or unpack it again"
