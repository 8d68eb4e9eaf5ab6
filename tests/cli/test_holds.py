import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.cli import cli
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import read
from moderation_service.kafka.topics import create
from moderation_service.settings import ChildSafetySettings, KafkaSettings
from tests.child_safety.test_legal_hold import IMAGE, put
from tests.line.service import environment, kafka_settings

CASE, WHY = "a" * 32, ("--reason", "report 7")


def run(*arguments: str) -> int:
    code: int = cli(["holds", *arguments], exit_on_error=False, print_error=False)
    return code


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case in a hold that the environment names."""
    key = base64.b64encode(b"k" * 32).decode()
    (tmp_path / "hold").mkdir()
    put(LegalHold(ChildSafetySettings.model_validate({"hold_path": tmp_path / "hold", "hold_key": key})))
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_PATH", str(tmp_path / "hold"))
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_KEY", key)


async def audited(settings: KafkaSettings) -> list[dict[str, Any]]:
    return [json.loads(record.value) async for record in read(settings, settings.audit_topic)]


@pytest.mark.usefixtures("held")
def test_a_case_is_listed_shown_handed_over_and_held_longer_and_each_is_audited(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = kafka_settings(kafka)
    asyncio.run(create(settings, partitions=1, replication=1))
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)

    assert run("list", *WHY) == 0
    assert CASE in capsys.readouterr().out
    assert run("show", CASE, *WHY) == 0
    shown = capsys.readouterr().out
    assert (json.loads(shown)["case_id"], "words of the post" in shown) == (CASE, False)
    assert run("export", CASE, "-o", str(tmp_path / "out"), *WHY) == 0
    assert (tmp_path / "out" / "image-0.png").read_bytes() == IMAGE
    assert run("extend", CASE, "--until", "2040-01-02", *WHY) == 0
    assert capsys.readouterr().out == f"{CASE}: held until 2040-01-02\n"
    assert run("purge", *WHY) == 0
    assert capsys.readouterr().out == ""

    entries = asyncio.run(audited(settings))
    assert [(entry["action"], entry["target"], entry["details"]["reason"]) for entry in entries] == [
        ("legal_hold.listed", "legal_hold", "report 7"),
        ("legal_hold.listed", CASE, "report 7"),
        ("legal_hold.exported", CASE, "report 7"),
        ("legal_hold.extended", CASE, "report 7"),
    ]
    assert all(entry["actor"].startswith("user:") for entry in entries)


@pytest.mark.usefixtures("held")
def test_without_an_audit_topic_or_a_reason_there_is_no_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def away(*_: object) -> int:
        msg = "kafka is away"
        raise Fatal(msg)

    monkeypatch.setattr(sys.modules["moderation_service.cli.holds"], "publish", away)
    with pytest.raises(Fatal, match="away"):
        run("export", CASE, "-o", str(tmp_path / "out"), *WHY)
    with pytest.raises(CycloptsError, match="--reason"):
        run("list")
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""
