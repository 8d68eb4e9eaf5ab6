"""Rows of files and topics, each with the place where it stands, or with why it is none."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moderation_service.errors import Misconfigured
from moderation_service.judging.post_files import NOT_UTF8, BadPost

Row = tuple[str, dict[str, Any] | BadPost]
"""`file:line` or `topic:partition:offset`, and what stands there."""


def json_rows(path: Path) -> Iterator[Row]:
    """The objects of a file of JSON lines; blank lines are nothing."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield json_row(f"{path}:{number}", line)


def json_row(where: str, value: bytes) -> Row:
    """The object that `value` is."""
    try:
        row = json.loads(value)
    except ValueError as error:  # UnicodeDecodeError is one too
        return where, BadPost(where, f"not JSON: {error}")
    return where, row if isinstance(row, dict) else BadPost(where, "should be a JSON object")


def csv_rows(path: Path, needed: str) -> Iterator[Row]:
    """The rows of a CSV file, by its header. Raises Misconfigured where that has no column `needed`."""
    # Bytes that are no UTF-8 become lone surrogates: one row is left out, not the rest.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, restkey="")
        if needed not in (reader.fieldnames or ()):
            msg = f"{path}:1: the header has no column {needed}"
            raise Misconfigured(msg)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # a cell over csv's limit, for one; the reader goes on with the next line
                where = f"{path}:{reader.reader.line_num}"
                yield where, BadPost(where, str(error))
                continue
            where = f"{path}:{reader.line_num}"
            if "" in row or None in row.values():
                yield where, BadPost(where, f"should have {len(reader.fieldnames or ())} cells, as the header")
            elif NOT_UTF8.search("".join(row.values())):
                yield where, BadPost(where, "not UTF-8")
            else:
                yield where, row
