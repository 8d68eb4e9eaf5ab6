"""Bank files, and the exports of other systems that become entries of a bank.

A bank file is JSON lines: the bank's properties, then one entry a line. Entries are also read from CSV, from
ThreatExchange (the command line's CSV, the Graph API's JSON) and from HMA (the curation API's JSON).
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from moderation_service.banks.loaded_bank import check_entry
from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.bank import Bank, BankEntry, first_fault
from moderation_service.contracts.base import Contract, validate_json
from moderation_service.errors import Misconfigured
from moderation_service.readers.columns import Columns
from moderation_service.readers.input_file import kind_of, open_text
from moderation_service.readers.rows import BadPost, Row, json_rows
from moderation_service.readers.sheet import sheet_rows

CSV_FIELDS = ("kind", "value", "id", "expires_at", "source", "note")
_COLUMNS = Columns("value", CSV_FIELDS)
_EXCHANGE_COLUMNS = Columns("signal_str", ("collab", "signal_type", "signal_str", "category", "tags"))
_KINDS = {
    **dict.fromkeys(("pdq", "HASH_PDQ"), "image_pdq"),
    **dict.fromkeys(("sha256", "HASH_SHA256"), "image_sha256"),
    **dict.fromkeys(("url", "URI", "DOMAIN"), "urls"),
    **dict.fromkeys(("raw_text", "TEXT_STRING"), "terms"),
}
_MOST_HEAD = 65_536
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_FAULTS = 20
_ENABLED = 1  # HMA's disable_until_ts: 0 disabled, 1 enabled, else a time
_Contract = TypeVar("_Contract", bound=Contract)


def load_banks(folder: Path | None) -> BankMatcher:
    """Read every bank of a folder, `NAME.jsonl` each. Raises Misconfigured with the faults of the first wrong file."""
    if folder and not folder.is_dir():
        msg = f"banks.path: {folder}: no such folder"
        raise Misconfigured(msg)
    matcher = BankMatcher()
    for path in sorted(folder.glob("*.jsonl")) if folder else ():
        matcher.put_bank(*read_bank(path))
    matcher.compact()
    return matcher


def read_bank(path: Path) -> tuple[Bank, Iterator[BankEntry]]:
    """A bank file's properties, and its entries while they are read. Raises Misconfigured, also for an entry."""
    rows = json_rows(path)
    bank = _valid(Bank, *next(rows, (f"{path}:1", BadPost(str(path), "is empty; its first line should be the bank"))))
    if isinstance(bank, str) or bank.name != path.name.removesuffix(".jsonl"):
        msg = bank if isinstance(bank, str) else f"{path}:1: name: {bank.name} is not the file's name"
        raise Misconfigured(msg)
    return bank, _unfaulted(_entries(rows))


def write_bank(path: Path, bank: Bank, entries: Iterable[BankEntry]) -> None:
    """Write a bank file in one step."""
    with replacing(path) as file:
        file.write(bank.model_dump_json(exclude_none=True) + "\n")
        file.writelines(to_json(entry) + "\n" for entry in entries)


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A file to write that takes the place of `path` in one step: a reader finds the old one or the new one."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def to_json(entry: BankEntry) -> str:
    """An entry as a line of a bank file."""
    return entry.model_dump_json(exclude_none=True, exclude={"schema_version"})


def read_entries(path: Path) -> Iterator[BankEntry | str]:
    """Entries of a CSV, JSON or JSON lines file, in the service's form or an export's; a line for each that is none."""
    return _entries(_rows(path))


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix.lower() == ".json":
        with open_text(path) as file:
            try:
                text = file.read()
                text.encode()
                whole = json.loads(text)
            except (ValueError, RecursionError) as error:
                why = "is not UTF-8" if isinstance(error, UnicodeEncodeError) else f"not JSON: {error}"
                msg = f"{path}: {why}"
                raise Misconfigured(msg) from None
        items = whole.get("data", [whole]) if isinstance(whole, dict) else whole
        if not isinstance(items, list):
            msg = f"{path}: should be an array of objects, or an object with one as its `data`"
            raise Misconfigured(msg)
        return ((f"{path}: item {number}", item) for number, item in enumerate(items, 1))
    if kind_of(path) == "jsonl":
        return json_rows(path)
    with open_text(path) as file:
        columns = _EXCHANGE_COLUMNS if "signal_str" in file.readline(_MOST_HEAD) else _COLUMNS
    return ((where, _as_exported(row)) for where, row in sheet_rows(path, columns))


def to_cell(value: str | None) -> str | None:
    """A value as a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value and value.lstrip("'").startswith(_FORMULA) else value


def _as_exported(row: dict[str, Any] | BadPost) -> dict[str, Any] | BadPost:
    """The row without the quotes of `to_cell`."""
    if not isinstance(row, dict):
        return row
    return {
        name: cell[1:] if isinstance(cell, str) and cell[:1] == "'" and cell.lstrip("'").startswith(_FORMULA) else cell
        for name, cell in row.items()
    }


def _entries(rows: Iterable[Row]) -> Iterator[BankEntry | str]:
    seen = dict[str, str]()
    for where, row in rows:
        for fields in _fields(row) if isinstance(row, dict) else (row,):
            entry = _valid(BankEntry, where, fields)
            if isinstance(entry, BankEntry) and (first := seen.setdefault(entry.id, where)) != where:
                yield f"{where}: id: {first} has {entry.id} too; should differ"
            else:
                yield entry


def _fields(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An entry's fields from those of any system: none for what is withdrawn there, several for several hashes."""
    if "signals" in row:
        signals = row["signals"] if row.get("disable_until_ts", _ENABLED) == _ENABLED else {}
        bank = row.get("bank")
        source = f"HMA {bank.get('name', '') if isinstance(bank, dict) else ''}".strip()
        if not isinstance(signals, dict):
            signals = {"signals": signals}  # a kind that there is not
        rows = [
            {"kind": kind, "value": value, "source": source, "note": row.get("note")} for kind, value in signals.items()
        ]
    elif "signal_str" in row:
        note = " ".join(str(row[name]) for name in ("category", "tags") if row.get(name))
        rows = [{"kind": row.get("signal_type"), "value": row["signal_str"], "source": row.get("collab"), "note": note}]
    elif "indicator" in row or "raw_indicator" in row:
        value = row.get("raw_indicator") or row.get("indicator")
        found = {
            "kind": row.get("type"),
            "value": value,
            "id": f"threatexchange-{row.get('id')}",
            "source": "ThreatExchange",
        }
        rows = [] if row.get("should_delete") else [found]
    else:
        rows = [row]
    for fields in rows:
        kind = fields.get("kind")
        yield {**fields, "kind": _KINDS.get(kind, kind) if isinstance(kind, str) else kind}


def _valid(model: type[_Contract], where: str, row: dict[str, Any] | BadPost) -> _Contract | str:
    """The contract that a row is, or why it is none."""
    if not isinstance(row, dict):
        return f"{where}: {row.why if isinstance(row, BadPost) else 'should be a JSON object'}"
    if unknown := next((name for name in row if name not in model.model_fields), None):
        return f"{where}: {unknown}: unknown field; known are {', '.join(model.model_fields)}"
    fields = {name: value for name, value in row.items() if value is not None and value != ""}
    try:
        found = validate_json(model, json.dumps(fields).encode())
        if isinstance(found, BankEntry):
            check_entry(found)
    except ValidationError as error:
        fault = first_fault(error)
        field = ".".join(map(str, fault["loc"])) or "row"
        return f"{where}: {field}: {fault['msg'].removeprefix('Value error, ')}"
    except ValueError as error:
        return f"{where}: value: {error}"
    return found


def _unfaulted(entries: Iterator[BankEntry | str]) -> Iterator[BankEntry]:
    """Raises Misconfigured with the first faults, once all is read."""
    faults = list[str]()
    for entry in entries:
        if isinstance(entry, BankEntry):
            yield entry
        elif len(faults) < _MOST_FAULTS:
            faults.append(entry)
    if faults:
        raise Misconfigured("\n".join(faults))
