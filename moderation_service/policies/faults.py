"""A fault of a policy file, as its owner reads it."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Never

Location = tuple[str | int, ...]
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """Where, what is wrong, and what would be right; `line` counts from 1, None where a whole folder is meant."""

    file: Path
    line: int | None
    field: str
    wrong: str
    right: str

    def __str__(self) -> str:
        """`file:line: field: wrong; right`."""
        place = f"{self.file}" if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.field}: {self.wrong}; {self.right}"


class PackRefused(Exception):  # noqa: N818 - a file is refused; stays inside this room
    """A policy file has faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def refuse(file: Path, line: int, wrong: str, right: str) -> Never:
    """Refuse a file as a whole. Raises PackRefused."""
    raise PackRefused([Fault(file, line, "file", wrong, right)]) from None


def field_name(location: Location) -> str:
    """`cases[2].images[0]` for a path into the file; `file` for its root."""
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".") or "file"


def shown(value: object) -> str:
    """A value as the fault quotes it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=0.6)), None)
