"""`moderation banks` without `banks.path`: the banks are those of the topic, and each change is on the audit topic."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from moderation_service.cli import bank_topic, cli
from moderation_service.errors import Misconfigured
from moderation_service.kafka.topic_io import read
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry
from tests.stream.support import kafka_settings

Run = Callable[..., list[str]]
TOPICS = ("input_topic", "output_topic", "dead_letter_topic", "review_topic", "audit_topic", "banks_topic")


@pytest.fixture
def run(kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `moderation`; the lines on standard output."""
    settings = kafka_settings(kafka, unique)
    for name in ("bootstrap_servers", *TOPICS):
        monkeypatch.setenv(f"MODERATION_KAFKA__{name.upper()}", getattr(settings, name))

    def call(*arguments: object, code: int = 0) -> list[str]:
        assert cli([*map(str, arguments)], exit_on_error=False, print_error=False) == code
        return capsys.readouterr().out.splitlines()

    call("topics", "create", "--partitions", "1")
    return call


async def audited(kafka: str, unique: str) -> list[AuditEntry]:
    settings = kafka_settings(kafka, unique)
    return [AuditEntry.model_validate_json(record.value) async for record in read(settings, settings.audit_topic)]


def test_banks_of_the_topic_are_made_matched_exported_and_changed_on_the_record(
    run: Run, kafka: str, unique: str, tmp_path: Path
) -> None:
    file, text = tmp_path / "terms.csv", tmp_path / "text.txt"
    file.write_text("kind,value,id\nterms,free crypto,t1\nterms,zorblax,t2\nurls,co.uk,t3\n", encoding="utf-8")
    text.write_text("FREE  CRYPT0 here", encoding="utf-8")
    with pytest.raises(Misconfigured, match="bank spam: no such bank"):
        run("banks", "add", "spam", "term", "x")
    run("banks", "import", "spam", file, "--action", "block", code=1)
    (added,) = run("banks", "add", "spam", "url", "bad.com/x", "--note", "campaign of May")
    assert json.loads(run("banks", "test", text)[0])["entry"] == "t1"
    run("banks", "set", "spam", "--route", "child_safety")
    run("banks", "set", "spam", "--mode", "shadow", "--route", "")
    assert json.loads(run("banks", "test", text)[0])["mode"] == "shadow"
    run("banks", "remove", "spam", "t1", "--reason", "too broad")
    run("banks", "remove", "spam", "t1", code=1)
    assert run("banks", "test", text) == []
    assert [json.loads(line)["id"] for line in run("banks", "export", "spam")] == ["t2", added]
    (row,) = (line.split("│") for line in run("banks", "list") if "spam" in line)
    assert [cell.strip() for cell in row[1:5]] == ["spam", "block", "shadow", "2"]

    told = asyncio.run(audited(kafka, unique))
    assert [(entry.action, entry.target, entry.details) for entry in told] == [
        ("bank.put", "spam", {"action": "block", "mode": "enforce"}),
        ("bank_entry.added", "spam", {"entries": 2, "ids": "t1 t2"}),
        ("bank_entry.added", "spam", {"entries": 1, "ids": added, "reason": "campaign of May"}),
        ("bank.put", "spam", {"action": "block", "mode": "enforce", "route": "child_safety"}),
        ("bank.put", "spam", {"action": "block", "mode": "shadow"}),
        ("bank_entry.removed", "spam", {"ids": "t1", "reason": "too broad"}),
    ]
    assert all(entry.actor.startswith("user:") for entry in told)


def test_a_change_reads_the_topic_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("banks", "set", "spam", "--action", "block")
    reads = list[str]()

    def counted(kafka: KafkaSettings, topic: str) -> AsyncIterator[ConsumerRecord]:
        reads.append(topic)
        return read(kafka, topic)

    monkeypatch.setattr(bank_topic, "read", counted)
    (added,) = run("banks", "add", "spam", "term", "badword")
    assert len(reads) == 1
    run("banks", "remove", "spam", added)
    assert len(reads) == 2
