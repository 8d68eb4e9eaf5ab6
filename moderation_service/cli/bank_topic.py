"""The banks of the topic, as the commands change them: each change with a record on the audit topic."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator

from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.topic import BankWriter, TopicBanks, parse_bank, parse_entry, parse_key
from moderation_service.cli.common import print_lines
from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.kafka.topic_consumer import Batch
from moderation_service.kafka.topic_io import emit_audit, read
from moderation_service.settings import Settings
from moderation_service.telemetry import audit

_AT_ONCE = 20_000
_MOST_IDS = 20  # in an audit record


class BankTopic:
    """The same as `BankFolder` for banks of `kafka.banks_topic`. All methods raise Fatal where Kafka is away."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._writer = BankWriter(settings)
        self._found = dict[str, tuple[Bank | None, dict[str, BankEntry]]]()  # by `find`, for the change that follows it

    def load(self) -> BankMatcher:
        """All banks."""
        return asyncio.run(self._load())

    def find(self, name: str) -> tuple[Bank, Iterator[BankEntry]] | None:
        """A bank and its entries; None where it is missing."""
        bank, entries = self._found[name] = asyncio.run(self._read(name))
        return (bank, iter(entries.values())) if bank else None

    def put_bank(self, bank: Bank) -> None:
        """Make a bank, or change its properties."""
        asyncio.run(self._put_bank(bank))

    def put(self, bank: Bank, entries: Iterable[BankEntry]) -> int:
        """Put entries into a bank, which is made where it is missing, and count them."""
        return asyncio.run(self._put(bank, entries))

    def remove(self, bank: Bank, entry_id: str, reason: str | None = None) -> bool:
        """Whether it was there."""
        return asyncio.run(self._remove(bank.name, entry_id, reason))

    async def _load(self) -> BankMatcher:
        banks = BankMatcher()
        topic = TopicBanks(banks)
        async for batch in self._batches():
            print_lines("skipped", topic.apply(batch))
        banks.compact()
        return banks

    async def _batches(self) -> AsyncIterator[Batch]:
        records = []
        async for record in read(self._kafka, self._kafka.banks_topic):
            records.append(record)
            if len(records) == _AT_ONCE:
                yield Batch(records)
                records = []
        yield Batch(records)

    async def _read(self, name: str) -> tuple[Bank | None, dict[str, BankEntry]]:
        bank, entries = None, dict[str, BankEntry]()
        async for record in read(self._kafka, self._kafka.banks_topic):
            try:
                found, entry_id = parse_key(record.key)
                if found != name:
                    continue
                if entry_id is None:
                    bank = None if record.value is None else parse_bank(name, record.value)
                elif record.value is None:
                    entries.pop(entry_id, None)
                else:
                    entries[entry_id] = parse_entry(entry_id, record.value)
            except ValueError as error:
                print_lines("skipped", [f"partition {record.partition}, offset {record.offset}: {error}"])
        return bank, entries

    async def _found_or_read(self, name: str) -> tuple[Bank | None, dict[str, BankEntry]]:
        return self._found.pop(name) if name in self._found else await self._read(name)

    async def _put_bank(self, bank: Bank) -> None:
        await self._writer.put_bank(bank)
        route = {"route": bank.route} if bank.route else {}
        await self._tell("bank.put", bank.name, {"action": bank.action, "mode": bank.mode, **route})

    async def _put(self, bank: Bank, entries: Iterable[BankEntry]) -> int:
        there, _ = await self._found_or_read(bank.name)
        if there is None:
            await self._put_bank(bank)
        first = list[BankEntry]()

        def seen() -> Iterator[BankEntry]:
            for entry in entries:
                if len(first) < _MOST_IDS:
                    first.append(entry)
                yield entry

        count = await self._writer.put_entries(bank.name, seen())
        notes = {entry.note for entry in first if entry.note}
        details: dict[str, int | str] = {"entries": count, "ids": " ".join(entry.id for entry in first)}
        await self._tell("bank_entry.added", bank.name, details, "; ".join(sorted(notes)))
        return count

    async def _remove(self, name: str, entry_id: str, reason: str | None) -> bool:
        _, entries = await self._found_or_read(name)
        if entry_id not in entries:
            return False
        await self._writer.remove_entry(name, entry_id)
        await self._tell("bank_entry.removed", name, {"ids": entry_id}, reason)
        return True

    async def _tell(
        self, action: audit.Action, bank: str, details: dict[str, int | str], reason: str | None = None
    ) -> None:
        why = {"reason": reason} if reason else {}
        entry = audit.AuditEntry(actor=audit.user(), action=action, target=bank, details={**details, **why})
        await emit_audit(self._kafka, entry)
