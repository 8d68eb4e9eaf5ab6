"""What is done to the service stands in the audit topic: who, what, and the digest before and after."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from structlog.testing import capture_logs

from moderation_service.app import reload
from moderation_service.cli.dlq import LetterFilter, redrive
from moderation_service.console.store.outbox import audited
from moderation_service.judging.calibration import Calibration
from moderation_service.kafka import topic_io
from moderation_service.kafka.topic_io import emit_audit, publish, read
from moderation_service.kafka.topics import create
from moderation_service.policies.pack import load_pack
from moderation_service.settings import KafkaSettings, PolicySettings, Settings, shipped_policies
from moderation_service.telemetry.audit import Action, AuditEntry, process
from tests.contracts.examples import MODEL
from tests.line.service import kafka_settings
from tests.ops.files import ROOT
from tests.policies.mounted import ConfigMap
from tests.stream.support import FakeJudge, eventually, post_record, published, running

ENTRY = AuditEntry(
    actor="user:a@b", action="policies.taken", target="policies.path", before="sha256:1", after="sha256:2"
)
SHIPPED = {file.name: file.read_text(encoding="utf-8") for file in shipped_policies().glob("*.yaml")}


async def entries(settings: KafkaSettings) -> list[AuditEntry]:
    return [AuditEntry.model_validate_json(record.value) async for record in read(settings, settings.audit_topic)]


class Packed:
    """A judge that has packs alone."""

    calibration = Calibration.load(None)
    model = MODEL

    def __init__(self, pack: Any, shadow_pack: Any = None) -> None:
        self.pack, self.shadow_pack = pack, shadow_pack

    def with_policies(self, *packs: Any) -> "Packed":
        return Packed(*packs)

    async def prepare(self) -> None: ...


async def test_policies_taken_anew_are_on_record_with_both_digests(kafka: str, tmp_path: Path) -> None:
    kafka_ = kafka_settings(kafka)
    await create(kafka_, partitions=1, replication=1)
    mounted = ConfigMap(tmp_path / "policies", SHIPPED)
    settings = Settings(kafka=kafka_, policies=PolicySettings(path=mounted.path, reload_seconds=0.05))
    old = load_pack(mounted.path, images=False)
    judge: Any = Packed(old)
    async with reload.reloading(settings, judge, lambda _: None, partial(emit_audit, kafka_)):
        mounted.update({"doxxing.yaml": SHIPPED["doxxing.yaml"]})

        async def told() -> bool:
            return bool(await entries(kafka_))

        await eventually(told, "the change is on record")
    (entry,) = await entries(kafka_)
    new = load_pack(mounted.path, images=False)
    (record,) = [record async for record in read(kafka_, kafka_.audit_topic)]
    assert list(record.headers) == audited(kafka_, entry).record.headers  # as of the console's entries
    assert (entry.action, entry.before, entry.after) == ("policies.taken", old.digest, new.digest)
    assert entry.actor == process()
    assert str(os.getpid()) in entry.actor


async def test_a_redrive_is_on_record_with_who_did_it_and_how_many(kafka: str) -> None:
    settings = kafka_settings(kafka)
    await create(settings, partitions=1, replication=1)
    bad = [post_record(settings.input_topic, f"bad{number}", text=7) for number in range(3)]  # type: ignore[arg-type]
    await publish(settings, bad)
    async with running(settings, FakeJudge()):
        await published(settings, 3)
    assert await redrive(settings, LetterFilter(), 1) == 0
    (entry,) = await entries(settings)
    assert (entry.action, entry.target) == ("dead_letters.redriven", settings.dead_letter_topic)
    assert entry.actor.startswith("user:")
    assert entry.details == {"records": 3, "left_out": 0}


async def test_an_entry_that_cannot_be_written_is_logged_whole_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topic_io, "_AUDIT_S", 0.5)
    with capture_logs() as logged:
        await emit_audit(KafkaSettings(bootstrap_servers="127.0.0.1:1"), ENTRY)
    (line,) = (line for line in logged if "audit" in line["event"])
    assert AuditEntry.model_validate(line["entry"]) == ENTRY
    assert json.dumps(line["entry"])


def test_every_action_is_in_the_operations_guide() -> None:
    guide = (ROOT / "docs/reference/observability.md").read_text(encoding="utf-8")
    assert [action for action in get_args(Action) if f"`{action}`" not in guide] == []
