import asyncio
from pathlib import Path

from moderation_service.app.banks import open_banks
from moderation_service.contracts.bank import BankEntry
from moderation_service.settings import BankSettings, BareSettings


async def test_the_banks_of_a_process_are_those_of_its_folder_and_are_compacted_while_they_grow(tmp_path: Path) -> None:
    (tmp_path / "spam.jsonl").write_text('{"name": "spam", "action": "block"}\n{"kind": "terms", "value": "badword"}\n')
    async with open_banks(BareSettings(banks=BankSettings(path=tmp_path)), look_every_s=0.01) as banks:
        assert len(banks.match_text("a badword").enforced) == 1
        banks["spam"].put(BankEntry(kind="image_pdq", value=f"{number:064x}") for number in range(8200))
        assert banks.needs_compaction
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if not banks.needs_compaction:
                break
        assert not banks.needs_compaction


async def test_without_a_folder_there_are_no_banks() -> None:
    async with open_banks(BareSettings()) as banks:
        assert banks.is_empty
