"""CSV sheets, read strictly: a row that is not as the header says is named with its line, and the rest goes on.

Read as people and spreadsheet programs write them: commas, semicolons or tabs, Excel's `sep=` line, any line ends,
UTF-8 or UTF-16 with a byte order mark, blank lines.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from moderation_service.encodings import not_utf8
from moderation_service.errors import Misconfigured
from moderation_service.readers.columns import Columns, Header
from moderation_service.readers.input_file import DAMAGED, cannot_read, open_text
from moderation_service.readers.rows import BadPost, cut_off

MAX_CELL = 16 * 1024 * 1024  # characters; an image may stand in a cell as a data address
MAX_LINES = 131_072  # characters of a cell that goes on over lines: beyond, its quote was forgotten

csv.field_size_limit(MAX_CELL)

SheetRow = tuple[str, dict[str, str] | BadPost]
"""`file:line`, and the cells by column."""

_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTE = "a quote is not closed, or stands alone in a quoted cell; close it, or write it twice"


def unread_columns(path: Path, columns: Columns) -> Iterator[str]:
    """A line for each column that nobody reads. Raises Misconfigured where the header is wrong."""
    with open_text(path) as file:
        for name in _header(path, _Lines(file), columns).unread:
            yield f"{path}: the column {name} is not read"


def sheet_rows(path: Path, columns: Columns) -> Iterator[SheetRow]:
    """The rows of a CSV file, by its header. Raises Misconfigured where that is wrong."""
    with open_text(path) as file:
        lines = _Lines(file)
        header = _header(path, lines, columns)
        reader = csv.reader(lines, delimiter=header.delimiter, strict=True, skipinitialspace=header.padded)
        while True:
            start = lines.begin()
            where = f"{path}:{start}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.give_back()
                yield where, BadPost(where, str(error) if "limit" in str(error) else _QUOTE)
                continue
            except DAMAGED as error:
                yield where, BadPost(where, cut_off(error))
                return
            if not any(map(str.strip, cells)):
                continue
            if lines.count > 1 and _holds_rows(cells, lines.record, header, columns.key):
                lines.give_back()
                yield where, BadPost(where, f"{_QUOTE}: the cell goes on over lines that look like rows")
                continue
            yield where, _row(where, cells, header)


def _row(where: str, cells: list[str], header: Header) -> dict[str, str] | BadPost:
    names = header.names
    if len(cells) != len(names):
        shown = {"\t": "tab"}.get(header.delimiter, repr(header.delimiter))
        why = f"should have {len(names)} cells, as the header; it has {len(cells)}"
        return BadPost(where, f"{why}, and a cell with a {shown} in it needs double quotes")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return BadPost(where, not_utf8("\n".join(cells).encode(errors="surrogateescape")))
    if header.plain:
        return dict(zip(header.plain, cells, strict=True))
    if "" in names[1:] and any(cell.strip() for name, cell in zip(names[1:], cells[1:], strict=True) if name == ""):
        return BadPost(where, "has a cell in a column without a name; name it, or put double quotes round commas")
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def _header(path: Path, lines: "_Lines", columns: Columns) -> Header:
    delimiter, line = None, ""
    try:
        for line in lines:
            if found := _SEP.fullmatch(line):
                delimiter = found[1]
            elif line.strip():
                break
    except DAMAGED as error:
        raise Misconfigured(cannot_read(path, error)) from error
    if not line.strip() or _SEP.fullmatch(line):
        msg = f"{path}: is empty; its first line should name the columns: {', '.join(columns.known)}"
        raise Misconfigured(msg)
    where = f"{path}:{lines.number}"
    try:
        line.encode()
    except UnicodeEncodeError:
        msg = f"{where}: {not_utf8(line.encode(errors='surrogateescape'))}"
        raise Misconfigured(msg) from None
    if "\0" in line:
        msg = f"{where}: {not_utf8(line.encode())}"
        raise Misconfigured(msg)
    return columns.header(line, where, delimiter)


def _holds_rows(cells: list[str], record: list[str], header: Header, key: str) -> bool:
    """Whether a later line of a row looks like a row of its own: as many cells, and an id of the same form."""
    at = header.names.index(key)
    form = _form(cells[at]) if at < len(cells) else ""
    if "0" not in form:
        return False
    inner = csv.reader(record[1:], delimiter=header.delimiter, quoting=csv.QUOTE_NONE)
    return any(len(row) == len(header.names) and _form(row[at]) == form for row in inner)


def _form(name: str) -> str:
    """An id with its digits as 0 and its letters as a, each run once."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", name.strip()))


class _Lines:
    """The lines of a file, counted; those of a wrong row but its first are given back, and read as rows again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0
        self.record: list[str] = []
        self._size = 0
        self._lines = lines
        self._again: deque[str] = deque()

    @property
    def count(self) -> int:
        """Lines of the row that is being read."""
        return len(self.record)

    def begin(self) -> int:
        """A row begins; the number of its line."""
        self.record.clear()
        self._size = 0
        return self.number + 1

    def give_back(self) -> None:
        """The row ends with its first line."""
        self._again.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.record and self._size > MAX_LINES:
            msg = f"{_QUOTE}: the cell goes on over {self._size} characters"
            raise csv.Error(msg)
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        self._size += len(line)
        self.record.append(line)
        return line
