"""`moderation banks`: known content in files or on the topic, and what of an image or a text it matches."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.table import Table

from moderation_service.banks.loaded_bank import check_entry
from moderation_service.banks.matcher import BankMatches
from moderation_service.cli.bank_topic import BankTopic
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, show, writable
from moderation_service.contracts.bank import Bank, BankAction, BankEntry, EntryKind
from moderation_service.contracts.enums import Mode
from moderation_service.encodings import decode as decode_text
from moderation_service.errors import Misconfigured
from moderation_service.media.containers import media_type
from moderation_service.media.decode import decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.media.pdq import to_hex
from moderation_service.readers.bank_files import CSV_FIELDS, read_entries, to_cell, to_json
from moderation_service.readers.bank_folder import BankFolder
from moderation_service.settings import MediaSettings, Settings

banks = App(
    name="banks",
    help="Banks of known content (images, terms, links): the files of `banks.path`, or without it the banks topic.",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Properties:
    """Properties of a bank. A new one has action review, severity 3, mode enforce and pdq_threshold 31 otherwise."""

    action: BankAction | None = None
    policy: Annotated[str | None, Parameter(help="Empty removes it (`set` only).")] = None
    severity: int | None = None
    mode: Mode | None = None
    route: Annotated[
        Literal["child_safety", ""] | None,
        Parameter(help="child_safety; empty removes it (`set` only).", show_choices=False),
    ] = None
    pdq_threshold: int | None = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NewEntry:
    """What is known of an entry. `expires_at` is UTC where it names no zone."""

    id: str | None = None
    expires_at: datetime | None = None
    source: str | None = None
    note: str | None = None


@banks.command(name="list")
def list_banks(*, settings: SettingsFile = None) -> int:
    """Print the banks with what follows from a match, the number of entries, and the digest.

    Example: `MODERATION_BANKS__PATH=banks moderation banks list`
    """
    table = Table("bank", "action", "mode", "entries", "digest")
    for loaded in _store(load(settings)).load():
        bank = loaded.bank
        action = f"{bank.action} ({bank.route})" if bank.route else bank.action
        table.add_row(bank.name, action, bank.mode, str(len(loaded)), loaded.digest)
    show(table)
    return 0


@banks.command(name="import")
def import_entries(bank: str, file: Path, /, *, new: Properties | None = None, settings: SettingsFile = None) -> int:
    """Add a file's entries to a bank; one with the id of another takes its place. The options are for a new bank.

    Where the bank is there they may only repeat its properties. Reads JSON lines and CSV with `kind` and `value`, and
    exports of ThreatExchange and HMA. Exits 1 where rows were left out, each of which is named on standard error.

    Example: `moderation banks import terror hashes.csv --action block --policy terrorism`
    """
    store, left_out = _store(load(settings)), list[str]()
    made = _made(new, name=bank, action=BankAction.REVIEW)
    if new and (there := store.find(bank)) and _made(new, **vars(there[0])) != there[0]:
        msg = f"bank {bank}: is there already with other properties; moderation banks set changes them"
        raise Misconfigured(msg)
    count = store.put(made, _fit(read_entries(file), left_out))
    print(f"{count} entries put into {bank}", file=sys.stderr)
    print_lines("left out", left_out)
    return PROBLEMS if left_out else 0


@banks.command(name="set")
def set_properties(bank: str, /, *, properties: Properties | None = None, settings: SettingsFile = None) -> int:
    """Change a bank's properties, or make a bank without entries; what is not given stays as it is.

    Example: `moderation banks set spam --mode enforce`
    """
    store = _store(load(settings))
    before, _ = store.find(bank) or (None, ())
    known = vars(before) if before else {"name": bank, "action": BankAction.REVIEW}
    store.put_bank(_made(properties, **known))
    return 0


@banks.command
def export(
    bank: str, /, *, out: Annotated[Path | None, Parameter(alias="-o")] = None, settings: SettingsFile = None
) -> int:
    """Write a bank's entries as JSON lines, or as CSV where the file is named so.

    The entries of a child-safety bank are never exported.

    Example: `moderation banks export terror -o terror.csv`
    """
    properties, entries = _existing(_store(load(settings)), bank)
    if properties.route:
        msg = f"bank {bank}: has route {properties.route}; its entries are never exported"
        raise Misconfigured(msg)
    out = writable(out, "--out") if out else None
    with out.open("w", encoding="utf-8", newline="") if out else nullcontext(sys.stdout) as file:
        if out and out.suffix == ".csv":
            sheet = csv.DictWriter(file, CSV_FIELDS, extrasaction="ignore")
            sheet.writeheader()
            for entry in entries:
                sheet.writerow({name: to_cell(value) for name, value in entry.model_dump(mode="json").items()})
        else:
            file.writelines(to_json(entry) + "\n" for entry in entries)
    return 0


@banks.command
def add(
    bank: str,
    kind: Literal["image", "term", "url"],
    value: str,
    /,
    *,
    entry: NewEntry | None = None,
    settings: SettingsFile = None,
) -> int:
    """Add an image (a file's path), a term or a URL to a bank that is there, and print the entries' ids.

    An image becomes two entries: the SHA-256 of its bytes, and its PDQ where it has enough detail for one.

    Example: `moderation banks add spam term "free crypto" --note "campaign of May"`
    """
    loaded = load(settings)
    store, fields = _store(loaded), entry or NewEntry()
    properties, _ = _existing(store, bank)
    kinds: Iterable[tuple[EntryKind, str]] = [("terms" if kind == "term" else "urls", value)]
    if kind == "image":
        kinds = _hashes(Path(value), loaded.media, properties)
    made = [_entry(each, text, fields) for each, text in kinds]
    store.put(properties, made)
    for one in made:
        print(one.id)
    return 0


@banks.command
def remove(
    bank: str,
    entry_id: str,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="For the audit topic, if the bank is on the topic.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Remove an entry from a bank; exits 1 where it is not there.

    Example: `moderation banks remove spam 5f1c0d2e9a7b4c33`
    """
    store = _store(load(settings))
    if not store.remove(_existing(store, bank)[0], entry_id, reason):
        print(f"bank {bank}: has no entry {entry_id}", file=sys.stderr)
        return PROBLEMS
    return 0


@banks.command(name="test")
def match_file(path: Path, /, *, settings: SettingsFile = None) -> int:
    """Say what an image or a text file matches, a JSON line a match; nothing is printed where nothing does.

    Example: `moderation banks test upload.jpg`
    """
    loaded = load(settings)
    matcher, data = _store(loaded).load(), path.read_bytes()
    if media_type(data):
        image = _decoded(path, data, loaded.media)
        matches = matcher.match_image(image.hashes, sha256(data).hexdigest())
    else:
        matches = matcher.match_text(decode_text(data))
    for line in _lines(matches):
        print(line)
    return 0


def _lines(matches: BankMatches) -> Iterator[str]:
    for mode, found in matches._asdict().items():
        for match in found:
            yield json.dumps({"mode": mode, **match.model_dump(mode="json", exclude_defaults=True)}, ensure_ascii=False)


def _store(settings: Settings) -> BankFolder | BankTopic:
    """Where the commands find and change banks: the files of `banks.path` where it is set, else the topic."""
    return BankFolder(settings.banks.path) if settings.banks.path else BankTopic(settings)


def _existing(store: BankFolder | BankTopic, name: str) -> tuple[Bank, Iterator[BankEntry]]:
    """Raises Misconfigured."""
    if found := store.find(name):
        return found
    msg = f"bank {name}: no such bank; make it: moderation banks set {name} --action ACTION"
    raise Misconfigured(msg)


def _made(given: Properties | None, **known: object) -> Bank:
    """A bank of what is known and what is given; an empty value removes. Raises Misconfigured."""
    changed = {name: value for name, value in vars(given or Properties()).items() if value is not None}
    removed = {name: None for name, value in changed.items() if value == ""}
    if absent := removed.keys() - known.keys():
        of = f"bank {known['name']}: {min(absent)}"
        msg = f"{of}: should not be empty for a new bank; moderation banks set removes it from one that is there"
        raise Misconfigured(msg)
    try:
        return Bank.model_validate({**known, **changed, **removed})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        msg = f"bank {known['name']}: {'.'.join(map(str, fault['loc'])) or 'properties'}: {fault['msg']}"
        raise Misconfigured(msg) from None


def _fit(rows: Iterable[BankEntry | str], left_out: list[str]) -> Iterator[BankEntry]:
    for row in rows:
        if isinstance(row, BankEntry):
            yield row
        else:
            left_out.append(row)


def _entry(kind: EntryKind, value: str, fields: NewEntry) -> BankEntry:
    """Raises Misconfigured."""
    given = {name: value for name, value in vars(fields).items() if value is not None}
    if fields.expires_at and fields.expires_at.tzinfo is None:
        given["expires_at"] = fields.expires_at.replace(tzinfo=UTC)
    try:
        entry = BankEntry(kind=kind, value=value, **given)
        check_entry(entry)
    except ValueError as error:
        msg = f"{kind}: {error}"
        raise Misconfigured(msg) from None
    return entry


def _hashes(path: Path, settings: MediaSettings, bank: Bank) -> Iterator[tuple[EntryKind, str]]:
    data = path.read_bytes()
    image = _decoded(path, data, settings)
    yield "image_sha256", sha256(data).hexdigest()
    found = image.hashes[0]
    if found.quality >= bank.pdq_min_quality:
        yield "image_pdq", to_hex(found.hashes)[0]
    else:
        least = f"under the bank's pdq_min_quality of {bank.pdq_min_quality}"
        print(f"{path}: too little detail for PDQ (quality {found.quality}, {least})", file=sys.stderr)


def _decoded(path: Path, data: bytes, settings: MediaSettings) -> LoadedImage:
    """Raises Misconfigured."""
    image = decode(data, settings)
    if image.status != "judged":
        msg = f"{path}: {image.status}; should be a whole image in a format that browsers show"
        raise Misconfigured(msg)
    return image
