import asyncio
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from moderation_service.bench.local_kafka import Broker, free_port, missing_tools
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka import clients
from moderation_service.kafka.clients import wait_for_broker
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.timing import slowness

pytestmark = pytest.mark.timeout(60)
_LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="right";'


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a listener that asks for a password."""
    if reason := missing_tools():
        skip_or_fail(reason)
    properties = {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": _LOGIN,
    }
    broker = Broker(tmp_path_factory.mktemp("secure"), properties=properties, extra={"SECURE": free_port()})
    broker.start()
    yield f"127.0.0.1:{broker.extra_ports['SECURE']}"
    broker.stop()


class Connection:
    """To a broker that knows of no broker, itself included, at first."""

    answers = iter([[], ["itself"]])

    async def send(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(brokers=next(self.answers))

    def close(self) -> None:
        pass


async def test_a_broker_that_is_not_in_its_cluster_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def create_conn(*_: object, **__: object) -> Connection:
        return Connection()

    monkeypatch.setattr(clients, "create_conn", create_conn)
    await wait_for_broker(settings("127.0.0.1:9092"))
    assert next(Connection.answers, None) is None


def settings(address: str, **fields: object) -> KafkaSettings:
    return KafkaSettings.model_validate({"bootstrap_servers": address, "request_timeout_s": 2.0, **fields})


def login(address: str, password: str, mechanism: str = "PLAIN") -> KafkaSettings:
    return settings(
        address,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism=mechanism,
        sasl_username="alice",
        sasl_password=SecretStr(password),
    )


async def test_the_right_password_lets_us_in(secure: str) -> None:
    await wait_for_broker(login(secure, "right"), timeout_s=10)


async def test_a_wrong_password_is_said_at_once_and_not_shown(secure: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Misconfigured, match=r"refused kafka\.sasl_username 'alice'") as refusal:
        await wait_for_broker(login(secure, "wrong password"), timeout_s=30)
    assert time.monotonic() - begun < 10 * slowness()
    assert "wrong password" not in str(refusal.value)


async def test_a_mechanism_that_the_broker_does_not_know_is_named(secure: str) -> None:
    with pytest.raises(Misconfigured, match=r"kafka\.sasl_mechanism SCRAM-SHA-512"):
        await wait_for_broker(login(secure, "right", "SCRAM-SHA-512"), timeout_s=10)


async def test_where_nobody_listens_it_tries_for_a_while_and_names_the_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with pytest.raises(Fatal, match=rf"kafka\.bootstrap_servers {address}: no broker answers \(.*refused") as fatal:
        await wait_for_broker(settings(address), timeout_s=1.5)
    assert 0.5 < time.monotonic() - begun < 5 * slowness()
    assert fatal.value.exit_code == 3


async def test_a_listener_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(Fatal, match="no broker answers"):
            await wait_for_broker(settings(address), timeout_s=1.0)
        assert time.monotonic() - begun < 8 * slowness()


async def test_a_certificate_that_is_not_trusted_is_said(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        skip_or_fail("openssl makes the certificate")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    command += ["-out", str(certificate), "-keyout", str(key)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(Misconfigured, match=r"certificate is not trusted .*kafka\.ssl_cafile"):
            await wait_for_broker(settings(address, security_protocol="SSL"), timeout_s=10)
    finally:
        server.close()
        await server.wait_closed()
