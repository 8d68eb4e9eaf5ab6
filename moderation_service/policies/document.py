"""A YAML file as plain values that remember their lines.

Only what JSON could say: no tags, no aliases, no field twice, nothing deep or large.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moderation_service.policies.faults import Fault, Location, PackRefused, field_name, refuse

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
_TYPED = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file (lists are tuples), and for each field the line it starts on."""

    file: Path
    values: dict[str, Any]
    lines: dict[Location, int]

    def line(self, location: Location) -> int:
        """The line of a field, or of the nearest thing round it that the file has."""
        while location not in self.lines:
            location = location[:-1]
        return self.lines[location]

    def fault(self, location: Location, wrong: str, right: str) -> Fault:
        """A fault of a field of this file."""
        return Fault(self.file, self.line(location), field_name(location), wrong, right)


def read_document(file: Path) -> Document:
    """Read one file. Raises PackRefused with the faults of its YAML."""
    text = _text_of(file)
    try:
        return _Reader(file, text).document()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refuse(file, line, f"holds the control character {chr(error.character)!r}", "should be plain text")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        wrong = f"is not YAML ({error.problem or error.context})"
        right = 'should be "field: value" lines of even indentation; words with ": " or " #" in them go in quotes'
        refuse(file, line, wrong, right)


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        refuse(file, 1, f"cannot be read ({error.strerror})", "should be a readable file")
    if len(raw) > MAX_BYTES:
        refuse(file, 1, f"is over {MAX_BYTES // 1024} KiB", "should hold one policy")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(file, raw.count(b"\n", 0, error.start) + 1, "is not UTF-8", "should be saved as UTF-8")


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader as far as its nodes; the values are made here."""

    def __init__(self, file: Path, text: str) -> None:
        super().__init__(text)
        self.file = file
        self.depth = 0
        self.lines: dict[Location, int] = {}
        self.faults: list[Fault] = []

    def document(self) -> Document:
        root = self.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            wrong = "is empty" if root is None else "does not start with a field"
            refuse(self.file, 1, wrong, "should hold one policy: id, version, title, …")
        self.lines[()] = root.start_mark.line + 1
        values = self._mapping(root, ())
        if self.faults:
            raise PackRefused(self.faults)
        return Document(self.file, values, self.lines)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - as PyYAML's
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            refuse(self.file, line, f"uses the alias *{event.anchor}", "should be written out")
        if event.tag is not None:
            refuse(self.file, line, f"uses the tag {event.tag}", "should be a plain value without a tag")
        if self.depth == MAX_DEPTH:
            refuse(self.file, line, f"is nested over {MAX_DEPTH} deep", "should be as flat as a policy's fields are")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.faults.append(
                    Fault(self.file, line, field_name(at), "has a field without a name", "should be a plain word")
                )
                continue
            location = (*at, key.value)
            if key.value in values:
                wrong = f"is here twice (first on line {self.lines[location]})"
                self.faults.append(Fault(self.file, line, field_name(location), wrong, "should be kept once"))
                continue
            self.lines[location] = line
            values[key.value] = self._value(value, location)
        return values

    def _value(self, node: yaml.Node, at: Location) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines[*at, index] = item.start_mark.line + 1
            return tuple(self._value(item, (*at, index)) for index, item in enumerate(node.value))
        if node.tag in _TYPED:
            try:
                return self.construct_object(node)
            except ValueError:  # looks like a number and is none: words
                return node.value
        return node.value
