"""The columns of a sheet: which are known, which are not read, and which look like a known one that was misspelt."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from moderation_service.errors import Misconfigured

DELIMITERS = ",;\t"

_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))
_ALSO_CALLED = {
    "post_id": {"id", "postid"},
    "text": {"body", "caption", "content", "message", "texts", "words"},
    "images": {
        *("img", "imgs", "image", "image_url", "image_urls", "image_path", "image_paths", "media", "media_url"),
        *("file", "files", "filename", "photo", "photos", "photo_url", "picture", "pictures", "picture_url"),
    },
    "language": {"lang", "locale"},
    "author_id": {"author", "user", "user_id"},
    "created_at": {"created", "date", "time", "timestamp"},
    "file": {"files", "filename", "image", "images", "img", "path", "photo", "picture"},
}
_CONTENT = ("text", "images")
MISNAMED = re.compile(
    rb'"(?!(?-i:text|images)")\s*(?:%s)\s*"\s*:'
    % "|".join(sorted({*_CONTENT, *(name for known in _CONTENT for name in _ALSO_CALLED[known])})).encode(),
    re.IGNORECASE,
)
"""Finds a field in JSON that may be the words or the images of a post under another name."""


@dataclass(frozen=True)
class Header:
    """What each column of a sheet is: its known name; "" without a name; None where it is not read."""

    names: tuple[str | None, ...]
    unread: tuple[str, ...]
    delimiter: str
    padded: bool

    @cached_property
    def plain(self) -> tuple[str, ...]:
        """The names where every column is read, as it mostly is; else nothing."""
        names = tuple(name for name in self.names if name)
        return names if len(names) == len(self.names) else ()


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a kind of sheet may have. `key` is required; `families` are beginnings such as `label:`."""

    key: str
    known: tuple[str, ...]
    families: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()
    """Names that stand for a column of the first family, without its beginning: policy ids."""

    def header(self, line: str, where: str, delimiter: str | None) -> Header:
        """Read the line of the column names, whose delimiter is seen from it where none is given.

        Raises Misconfigured where `key` is missing, a column is there twice, or one looks like a known one.
        """
        cells = self._cells(line, delimiter)
        names: list[str | None] = [self._known(cell) for cell in cells[1]]
        self._refuse(names, cells[1], where)
        unread = tuple(cell.strip() for name, cell in zip(names, cells[1], strict=True) if name is None)
        return Header(tuple(names), unread, cells[0], any(cell.startswith(" ") for cell in cells[1][1:]))

    def _cells(self, line: str, delimiter: str | None) -> tuple[str, list[str]]:
        tried = [(each, next(csv.reader([line], delimiter=each))) for each in delimiter or DELIMITERS]
        with_key = [one for one in tried if self.key in map(_folded, one[1])]
        return max(with_key or tried, key=lambda one: len(one[1]))

    def _known(self, cell: str) -> str | None:
        name = _folded(cell)
        family = next((each for each in self.families if name.startswith(each) and name != each), None)
        return name if not name or name in self.known or family else None

    def _refuse(self, names: Sequence[str | None], cells: Sequence[str], where: str) -> None:
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice:
            msg = f"{where}: the header has the column {twice} twice; keep one"
            raise Misconfigured(msg)
        if self.key not in names:
            has = ", ".join(cell.strip() for cell in cells)
            known = ", ".join([*self.known, *(f"{family}POLICY" for family in self.families)])
            msg = f"{where}: the header has no column {self.key}; it has {has}; known are {known}"
            raise Misconfigured(msg)
        for cell in (cell for cell, name in zip(cells, names, strict=True) if name is None):
            if meant := self._meant(_folded(cell), names):
                msg = f"{where}: the header has an unknown column {cell.strip()!r}; rename it to {meant}, or remove it"
                raise Misconfigured(msg)

    def _meant(self, name: str, names: Sequence[str | None]) -> str | None:
        """The known column that an unknown one looks like."""
        if name in self.plain:
            return f"{self.families[0]}{name}"
        also = (known for known in self.known if name in _ALSO_CALLED.get(known, ()) and known not in names)
        close = get_close_matches(name, [*self.known, *self.families], n=1, cutoff=0.8)
        return next(also, None) or next(iter(close), None)


def _folded(cell: str) -> str:
    """A name without what people don't see or mean: case, spaces, hyphens, a byte order mark."""
    name = re.sub(r"[\s-]+", "_", cell.translate(_INVISIBLE).strip().casefold())
    return re.sub(r"_?:_?", ":", name)


def misnamed(fields: Mapping[str, object], known: Sequence[str]) -> str | None:
    """Why a JSON post is wrong whose words or images have a name that nobody reads; None where it is right."""
    for name, value in fields.items():
        if value and name not in known:
            folded = _folded(name)
            meant = next((one for one in _CONTENT if folded == one or folded in _ALSO_CALLED[one]), None)
            if meant and not fields.get(meant):
                return f"{name}: unknown field, which nobody reads; rename it to {meant}, or remove it"
    return None
