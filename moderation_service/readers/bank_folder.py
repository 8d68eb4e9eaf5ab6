"""The banks of a folder, `NAME.jsonl` each, as commands find and change them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.errors import Misconfigured
from moderation_service.readers.bank_files import load_banks, read_bank, write_bank


class BankFolder:
    """Each change writes a bank's file anew, in one step. All methods raise Misconfigured."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            msg = f"banks.path: {folder}: no such folder"
            raise Misconfigured(msg)
        self._folder = folder

    def load(self) -> BankMatcher:
        """All banks."""
        return load_banks(self._folder)

    def find(self, name: str) -> tuple[Bank, Iterator[BankEntry]] | None:
        """A bank, and its entries while they are read; None where it is missing."""
        path = self._path(name)
        return read_bank(path) if path.is_file() else None

    def put_bank(self, bank: Bank) -> None:
        """Make a bank, or change its properties."""
        _, entries = self.find(bank.name) or (None, ())
        write_bank(self._path(bank.name), bank, entries)

    def put(self, bank: Bank, entries: Iterable[BankEntry]) -> int:
        """Put entries into a bank, which is made where it is missing, and count them."""
        there, before = self.find(bank.name) or (bank, ())
        ids = set[str]()

        def merged() -> Iterator[BankEntry]:
            for entry in entries:
                ids.add(entry.id)
                yield entry
            yield from (entry for entry in before if entry.id not in ids)

        write_bank(self._path(bank.name), there, merged())
        return len(ids)

    def remove(self, bank: Bank, entry_id: str, _reason: str | None = None) -> bool:
        """Whether it was there."""
        _, entries = self.find(bank.name) or (None, ())
        if was_there := any(entry.id == entry_id for entry in entries):
            _, entries = self.find(bank.name) or (None, ())
            write_bank(self._path(bank.name), bank, (entry for entry in entries if entry.id != entry_id))
        return was_there

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"
