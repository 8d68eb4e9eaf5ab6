"""The compacted topic of banks: `BANK` is the key of a bank's properties, `BANK/ENTRY_ID` of an entry; null removes it.

What is there is the last record of each key, in any order: compaction may leave a bank's entries before its properties.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from moderation_service.banks.loaded_bank import LoadedBank, check_entry
from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.bank import BANK_NAME, Bank, BankAction, BankEntry, first_fault
from moderation_service.contracts.base import Contract, validate_json
from moderation_service.contracts.enums import Mode
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_consumer import Batch
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.settings import Settings

_Contract = TypeVar("_Contract", bound=Contract)


class BankWriter:
    """Changes banks of the topic. All workers have a change some seconds after its method returned.

    Every method returns when all in-sync replicas have the record. It raises Fatal where Kafka does not take it, and
    Misconfigured for a bank that is a file of `banks.path`: the file is the whole of it.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._folder = settings.banks.path

    async def put_bank(self, bank: Bank) -> None:
        """A new bank, or other properties of one that is there."""
        await self._publish(bank.name, [(bank.name, bank)])

    async def put_entries(self, bank: str, entries: Iterable[BankEntry]) -> int:
        """Put entries, and count them. Raises ValueError for an unfit one; those before it are written."""
        return await self._publish(bank, ((f"{bank}/{entry.id}", check_entry(entry)) for entry in entries))

    async def remove_entry(self, bank: str, entry_id: str) -> None:
        """Match it no more; nothing happens where it is not there."""
        await self._publish(bank, [(f"{bank}/{entry_id}", None)])

    async def _publish(self, bank: str, changes: Iterable[tuple[str, Bank | BankEntry | None]]) -> int:
        check_not_a_file(self._folder, bank)
        return await publish(self._kafka, (bank_record(self._kafka.banks_topic, *change) for change in changes))


def bank_record(topic: str, key: str, value: Bank | BankEntry | None) -> Record:
    """A bank's properties or an entry as a record of the topic; None removes it."""
    written = None if value is None else value.model_dump_json(exclude_none=True).encode()
    return Record(topic, key.encode(), written, [("content-type", b"application/json")])


class TopicBanks:
    """The topic's banks in a matcher; one thread applies their records.

    Banks that are in the matcher before come from files, and records of theirs are skipped. A bank whose properties are
    missing is kept out of the matcher until they come.
    """

    def __init__(self, banks: BankMatcher) -> None:
        self._banks = banks
        self._of_files = frozenset(loaded.bank.name for loaded in banks)
        self._loaded = dict[str, LoadedBank]()
        self._named, self._matched = set[str](), set[str]()  # those with properties, and those in the matcher
        self._is_read = True

    def start_over(self) -> None:
        """Forget all records; the matcher keeps its banks until `finish`, when all of the topic was applied anew."""
        self._loaded, self._named, self._is_read = {}, set(), False

    def finish(self) -> None:
        """Match the banks that there are now, and none that there were before."""
        self._is_read = True
        for name in self._named:
            self._banks.attach(self._loaded[name])
        for name in self._matched - self._named:
            self._banks.remove_bank(name)
        self._matched = set(self._named)

    def apply(self, batch: Batch) -> list[str]:
        """Take records, of which the last of a key counts; a line for each that is skipped: where, and why."""
        properties = dict[str, Bank | None]()
        entries = defaultdict[str, dict[str, BankEntry | None]](dict)
        skipped = list[str]()
        for record in batch.records:
            try:
                name, entry_id = parse_key(record.key)
                if name in self._of_files:
                    msg = f"bank {name} is a file of banks.path"
                    raise ValueError(msg)  # noqa: TRY301 - there is one way to be skipped
                if entry_id is None:
                    properties[name] = None if record.value is None else parse_bank(name, record.value)
                else:
                    entries[name][entry_id] = None if record.value is None else parse_entry(entry_id, record.value)
            except ValueError as error:
                skipped.append(f"partition {record.partition}, offset {record.offset}: {error}")
        for name, changed in entries.items():
            loaded = self._of(name)
            loaded.put(entry for entry in changed.values() if entry)
            for entry_id in (entry_id for entry_id, entry in changed.items() if not entry):
                loaded.remove(entry_id)
        for name, bank in properties.items():
            if bank:
                self._of(name).set_properties(bank)
                self._named.add(name)
            else:
                self._named.discard(name)
        if properties and self._is_read:
            self.finish()
        return skipped

    def _of(self, name: str) -> LoadedBank:
        if name not in self._loaded:
            self._loaded[name] = LoadedBank(Bank(name=name, action=BankAction.LABEL, mode=Mode.SHADOW))
        return self._loaded[name]


def parse_key(key: bytes | None) -> tuple[str, str | None]:
    """A bank's name, and an entry's id where the record is of one. Raises ValueError."""
    name, slash, entry_id = (key or b"").decode().partition("/")
    if not re.fullmatch(BANK_NAME, name) or bool(slash) != bool(entry_id):
        msg = f"key {key!r}: should be BANK or BANK/ENTRY_ID, where BANK is lower-case letters, digits, - and _"
        raise ValueError(msg)
    return name, entry_id or None


def parse_bank(name: str, value: bytes) -> Bank:
    """A bank's properties. Raises ValueError."""
    return _parse(Bank, "name", name, value)


def parse_entry(entry_id: str, value: bytes) -> BankEntry:
    """An entry. Raises ValueError."""
    return check_entry(_parse(BankEntry, "id", entry_id, value))


def _parse(model: type[_Contract], field: str, of_key: str, value: bytes) -> _Contract:
    try:
        parsed = validate_json(model, value)
    except ValidationError as error:
        fault = first_fault(error)
        msg = f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}"
        raise ValueError(msg) from None
    if (given := getattr(parsed, field)) != of_key:
        msg = f"{field}: {given} is not that of the key, {of_key}"
        raise ValueError(msg)
    return parsed


def check_not_a_file(folder: Path | None, bank: str) -> None:
    """Raises Misconfigured for a bank that is a file of the folder."""
    if folder and (path := folder / f"{bank}.jsonl").is_file():
        msg = f"bank {bank}: is the file {path}, which the topic can't change; edit the file, or choose another name"
        raise Misconfigured(msg)
