"""The ACLs of k8s/kafka/acls.sh, on a real broker that enforces them: enough for a worker, and no more."""

import argparse
import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from moderation_service.app.console import running_console
from moderation_service.banks.topic import BankWriter
from moderation_service.bench.local_kafka import Broker, free_port, missing_tools
from moderation_service.console.api import posts as api_posts
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox
from moderation_service.console.store.database import open_database
from moderation_service.console.store.verdicts import by_id
from moderation_service.contracts.bank import Bank, BankAction
from moderation_service.contracts.envelope import Trace
from moderation_service.errors import Fatal
from moderation_service.kafka import topics
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.settings import BareSettings, KafkaSettings
from moderation_service.telemetry import audit
from tests.conftest import skip_or_fail
from tests.console.support import console_settings, shipped_pack
from tests.contracts.examples import verdict
from tests.deploy.files import ROOT
from tests.stream.support import FakeJudge, eventually, post_record, published, running, send

pytestmark = pytest.mark.timeout(120)
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required {};"
USERS = ("moderation", "moderation-console")
RECORDER = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}


def bindings() -> Iterator[AclBinding]:
    """What the script asks of kafka-acls.sh, read as that reads it: each operation on each resource."""
    script = ROOT / "k8s" / "kafka" / "acls.sh"
    done = subprocess.run([script, *RECORDER], capture_output=True, text=True, check=True)
    tool = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    tool.add_argument("--add", action="store_true", required=True)
    tool.add_argument("--allow-principal", required=True)
    tool.add_argument("--resource-pattern-type", choices=["literal", "prefixed"], default="literal")
    for repeated in ("--operation", "--topic", "--group", "--transactional-id"):
        tool.add_argument(repeated, action="append", default=[])
    for line in done.stdout.splitlines():
        asked = tool.parse_args(json.loads(line))
        for kind, type_ in RESOURCES.items():
            for name in getattr(asked, kind):
                for operation in asked.operation:
                    yield AclBinding(
                        type_,
                        name,
                        ResourcePatternType[asked.resource_pattern_type.upper()],
                        asked.allow_principal,
                        "*",
                        AclOperation[{"DescribeConfigs": "DESCRIBE_CONFIGS"}.get(operation, operation.upper())],
                        AclPermissionType.ALLOW,
                    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A broker's addresses: where its administrator may do all, and where a user may do what an ACL says."""
    if reason := missing_tools():
        skip_or_fail(reason)
    ports = {name: free_port() for name in ("PLAINTEXT", "GUARDED", "CONTROLLER")}
    addresses = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    properties = {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": f"{addresses['PLAINTEXT']},{addresses['GUARDED']}",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['CONTROLLER']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": LOGIN.format(
            " ".join(f'user_{name}="right"' for name in USERS)
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # who comes without a password, as this test's administrator does
    }
    broker = Broker(tmp_path_factory.mktemp("guarded"), ports["PLAINTEXT"], properties)
    broker.start()
    yield broker.address, f"127.0.0.1:{ports['GUARDED']}"
    broker.stop()


def quick(address: str, user: str | None = None) -> KafkaSettings:
    """Settings with the service's own names of topics and group, quick to give up."""
    fields: dict[str, object] = {"bootstrap_servers": address, "request_timeout_s": 5.0}
    if user:
        fields |= {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        fields |= {"sasl_username": user, "sasl_password": "right"}
    return KafkaSettings.model_validate(fields)


def give(address: str) -> None:
    """Make the bindings."""
    client = AdminClient({"bootstrap.servers": address})  # what is asked ends with it
    for done in client.create_acls(list(bindings())).values():
        done.result(10)


async def test_a_worker_gets_by_with_these_acls_and_may_do_nothing_else(guarded: tuple[str, str]) -> None:
    administrator = quick(guarded[0])
    worker = quick(guarded[1], "moderation")
    await topics.create(administrator, partitions=2)
    outputs = worker.output_topic, worker.dead_letter_topic, worker.escalation_topic
    used = {worker.input_topic, *outputs, worker.banks_topic}
    with pytest.raises(Fatal, match="TopicAuthorizationFailed"):
        await topics.check(worker, only=used)

    give(guarded[0])

    async def as_they_should_be() -> bool:
        with contextlib.suppress(Fatal):
            return await topics.check(worker, only=used) == []
        return False

    await eventually(as_they_should_be, "the broker acts on the ACLs")
    await BankWriter(BareSettings(kafka=administrator)).put_bank(Bank(name="spam", action=BankAction.BLOCK))
    assert [record.key async for record in read(worker, worker.banks_topic)] == [b"spam"]
    posts = [post_record(worker.input_topic, f"p-{number}") for number in range(20)]
    await send(administrator, [*posts, post_record(worker.input_topic, "bad", text=7)])  # type: ignore[arg-type]
    async with running(worker, FakeJudge()):
        seen = await published(administrator, 21)
    assert (len(seen.judged), len(seen.dead)) == (20, 1)

    with pytest.raises(Fatal, match="TopicAuthorizationFailed"):
        await send(worker, [post_record(worker.input_topic, "forged")])
    for topic in (worker.output_topic, worker.review_topic):
        with pytest.raises(Fatal):
            _ = [record async for record in read(worker, topic)]


async def test_a_console_gets_by_with_these_acls_and_may_do_nothing_else(
    guarded: tuple[str, str], tmp_path: Path
) -> None:
    administrator, kafka = quick(guarded[0]), quick(guarded[1], "moderation-console")
    await topics.create(administrator, partitions=2)
    give(guarded[0])
    judged = verdict()
    await publish(administrator, [Record(kafka.output_topic, judged.post_id.encode(), judged.to_json())])
    url, pack = f"sqlite:///{tmp_path / 'console.db'}", shipped_pack()
    await BankWriter(BareSettings(kafka=kafka)).put_bank(Bank(name="spam", action=BankAction.BLOCK))
    assert [record.key async for record in read(kafka, kafka.banks_topic)][-1] == b"spam"
    done = audit.AuditEntry(actor="reviewer:r", action="user.logged_in", target="r")
    async with open_database(url) as database:
        context = ConsoleContext(console_settings(url, kafka=kafka), database, pack)
        async with database.begin() as connection:
            await outbox.put(connection, outbox.audited(kafka, done))
            await api_posts.erase(connection, kafka, "erased", Trace.of([]), actor="key:tests")

        async def both() -> bool:
            return await by_id(database, judged.verdict_id) is not None and await outbox.first_due(database) is None

        async with running_console(context):
            await eventually(both, "it reads verdicts, and sends what people did and deleted")
    told = [record async for record in read(administrator, kafka.audit_topic)]
    assert done.audit_id.encode() in {dict(record.headers)["ce_id"] for record in told}
    for topic in (kafka.input_topic, kafka.output_topic):
        found = [record async for record in read(administrator, topic)]
        assert [record.value for record in found if record.key == b"erased"] == [None]
    with pytest.raises(Fatal, match="TopicAuthorizationFailed"):
        await send(kafka, [post_record(kafka.dead_letter_topic, "forged")])


def test_the_script_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    script = ROOT / "k8s" / "kafka" / "acls.sh"
    assert shlex.split(script.read_text().splitlines()[0]) == ["#!/bin/sh"]
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
