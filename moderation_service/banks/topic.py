"""The compacted topic of banks: `BANK` is the key of a bank's properties, `BANK/ENTRY_ID` of an entry; null removes it.

What is there is the last record of each key, in any order: compaction may leave a bank's entries before its properties.
"""

from collections.abc import Iterable
from pathlib import Path

from moderation_service.banks.loaded_bank import check_entry
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.settings import Settings

_HEADERS = [("content-type", b"application/json")]


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
        await self._publish(bank.name, [self._record(bank.name, bank)])

    async def remove_bank(self, name: str) -> None:
        """Match it no more. Its entries stay on the topic, for a bank of that name that comes later."""
        await self._publish(name, [self._record(name, None)])

    async def put_entry(self, bank: str, entry: BankEntry) -> None:
        """Add an entry; one with the id of another takes its place. It matches once the bank is there."""
        await self.put_entries(bank, [entry])

    async def put_entries(self, bank: str, entries: Iterable[BankEntry]) -> int:
        """Add many, and count them. Raises ValueError for an unfit one; those before it are written."""
        return await self._publish(bank, (self._record(f"{bank}/{entry.id}", entry) for entry in _checked(entries)))

    async def remove_entry(self, bank: str, entry_id: str) -> None:
        """Match it no more; nothing happens where it is not there."""
        await self._publish(bank, [self._record(f"{bank}/{entry_id}", None)])

    async def _publish(self, bank: str, records: Iterable[Record]) -> int:
        check_not_a_file(self._folder, bank)
        return await publish(self._kafka, records)

    def _record(self, key: str, value: Bank | BankEntry | None) -> Record:
        written = None if value is None else value.model_dump_json(exclude_none=True).encode()
        return Record(self._kafka.banks_topic, key.encode(), written, list(_HEADERS))


def check_not_a_file(folder: Path | None, bank: str) -> None:
    """Raises Misconfigured for a bank that is a file of the folder."""
    if folder and (path := folder / f"{bank}.jsonl").is_file():
        msg = f"bank {bank}: is the file {path}, which the topic can't change; edit the file, or choose another name"
        raise Misconfigured(msg)


def _checked(entries: Iterable[BankEntry]) -> Iterable[BankEntry]:
    for entry in entries:
        check_entry(entry)
        yield entry
