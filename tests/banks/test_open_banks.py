import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from moderation_service.app.banks import open_banks
from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.topic import BankWriter
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import connected, create
from moderation_service.settings import BankSettings, BareSettings
from tests.stream.support import eventually, kafka_settings


async def test_the_banks_of_a_process_are_those_of_its_folder_and_are_compacted_while_they_grow(tmp_path: Path) -> None:
    (tmp_path / "spam.jsonl").write_text('{"name": "spam", "action": "block"}\n{"kind": "terms", "value": "badword"}\n')
    async with open_banks(BareSettings(banks=BankSettings(path=tmp_path)), look_every_s=0.01) as banks:
        assert len(banks.match_text("a badword").enforced) == 1
        banks["spam"].put(BankEntry(kind="image_pdq", value=f"{number:064x}") for number in range(8200))
        assert banks["spam"].needs_compaction
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if not banks["spam"].needs_compaction:
                break
        assert not banks["spam"].needs_compaction


async def test_a_compaction_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compact, faults = BankMatcher.compact, list[Exception]()

    def failing(banks: BankMatcher) -> None:
        if faults:
            raise faults.pop()
        compact(banks)

    monkeypatch.setattr(BankMatcher, "compact", failing)
    failures = REGISTRY.get_sample_value("moderation_bank_compaction_failures_total") or 0
    async with open_banks(BareSettings(), look_every_s=0.01) as banks:
        entries = [BankEntry(kind="image_pdq", value=f"{number:064x}") for number in range(8200)]
        faults.append(IndexError())
        banks.put_bank(Bank(name="spam", action=BankAction.BLOCK), entries)
        await eventually(lambda: not banks["spam"].needs_compaction, "a compaction")
    assert not faults
    assert REGISTRY.get_sample_value("moderation_bank_compaction_failures_total") == failures + 1


async def test_without_a_folder_there_are_no_banks() -> None:
    async with open_banks(BareSettings()) as banks:
        assert banks.is_empty


async def test_a_topic_that_is_missing_at_the_start_is_followed_once_it_is_there_and_a_file_owns_its_bank(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    (tmp_path / "ours.jsonl").write_text('{"name": "ours", "action": "review"}\n')
    topics = kafka_settings(kafka, unique)
    writer = BankWriter(BareSettings(kafka=topics))
    async with open_banks(BareSettings(kafka=topics, banks=BankSettings(path=tmp_path)), follow_s=60.0) as banks:
        assert [loaded.bank.name for loaded in banks] == ["ours"]
        await create(topics)
        await publish(topics, [Record(topics.banks_topic, b"ours/x", b"{}"), Record(topics.banks_topic, b"junk/", b"")])
        await writer.put_entries("spam", [BankEntry(kind="terms", value="badword")])
        await writer.put_bank(Bank(name="spam", action=BankAction.BLOCK))
        await eventually(lambda: bool(banks.match_text("a badword").enforced), "the topic is read")
        assert len(banks["ours"]) == 0


async def test_a_topic_that_is_deleted_and_created_again_is_read_from_its_start(kafka: str, unique: str) -> None:
    topics = kafka_settings(kafka, unique)
    writer, settings = BankWriter(BareSettings(kafka=topics)), BareSettings(kafka=topics)

    async def created() -> bool:
        return (await create(topics))[topics.banks_topic] == "created"

    assert await created()
    for name in ("old", "kept"):
        await writer.put_bank(Bank(name=name, action=BankAction.BLOCK))
        await writer.put_entries(name, [BankEntry(kind="terms", value=f"{name}word")])
    async with open_banks(settings, follow_s=60.0) as banks:
        assert [loaded.bank.name for loaded in banks] == ["kept", "old"]
        async with connected(topics) as client:
            await client.delete_topics([topics.banks_topic])
        await eventually(created, "a topic in its place")
        assert banks.match_text("oldword").enforced
        await writer.put_bank(Bank(name="kept", action=BankAction.REVIEW))
        await eventually(lambda: [loaded.bank.name for loaded in banks] == ["kept"], "the topic is read again")
        assert (banks["kept"].bank.action, len(banks["kept"])) == (BankAction.REVIEW, 0)
