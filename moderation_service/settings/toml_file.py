"""A TOML file of settings: its values, and the line on which each stands."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation_service.encodings import decode
from moderation_service.errors import Misconfigured

_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)| \(at end of document\)")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """The values of a file, by section, and its text."""

    path: Path
    values: dict[str, Any]
    text: str

    def place(self, section: str, field: str) -> str | None:
        """`file:line` of a field; None where the file does not set it."""
        if section not in self.values:
            return None
        table = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if header := re.match(r"\s*\[\s*([\w.\"]+)\s*\]", line):
                table = header[1].strip('"')
            names = {f"{section}.{field}"} if not table else {field} if table == section else set()
            if (key := re.match(r"\s*\"?([\w.]+)\"?\s*=", line)) and key[1] in names:
                return f"{self.path}:{number}"
        return str(self.path) if field in self.values[section] else None


def read_toml(path: Path) -> TomlFile:
    """Read a file. Raises Misconfigured, naming file and line."""
    if not path.is_file():
        msg = f"--settings {path}: no such file"
        raise Misconfigured(msg)
    try:
        text = decode(path.read_bytes())
        return TomlFile(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = found[1] if found and found[1] else text.count("\n") + 1
        msg = f"{path}:{line}: is not TOML: {_AT_LINE.sub('', str(error))}; words stand in double quotes"
        raise Misconfigured(msg) from error
    except OSError as error:
        msg = f"--settings {path}: can't be read ({error.strerror})"
        raise Misconfigured(msg) from error
    except ValueError as error:
        msg = f"--settings {path}: {error}"
        raise Misconfigured(msg) from error
