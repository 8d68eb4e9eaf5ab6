"""Kafka over TLS, with passwords and with certificates of our own, on a real broker; and each way it can be refused."""

import base64
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from structlog.testing import capture_logs

from benchmarks.certificates import Authority, Signed
from moderation_service.bench.local_kafka import Broker, free_port, missing_tools
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka import clients
from moderation_service.kafka.clients import wait_for_broker
from moderation_service.kafka.security import ssl_context
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.stream.support import FakeJudge, kafka_settings, make_topics, post_record, published, running, send
from tests.timing import slowness

pytestmark = pytest.mark.timeout(120)
LISTENERS = {
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "PASSWORD": "SASL_SSL",
    "TOKEN": "SASL_SSL",
    "EXPIRED": "SSL",
    "STRANGER": "SSL",
}
KEY_PASSWORD = "of the key"
ALICE = {"sasl_username": "alice", "sasl_password": "right"}
MECHANISMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}


@dataclass(frozen=True)
class Secured:
    """A broker's listeners by name, and what a client may show it."""

    ports: dict[str, int]
    trusted: Path
    other: Path
    client: Signed
    unknown_client: Signed

    def settings(self, listener: str, name: str = "t", **fields: object) -> KafkaSettings:
        usual = {
            "security_protocol": LISTENERS.get(listener, "SSL"),
            "ssl_cafile": self.trusted,
            "request_timeout_s": 3.0,
        }
        return kafka_settings(f"localhost:{self.ports[listener]}", name, **(usual | fields))

    def login(self, password: str, mechanism: str = "SCRAM-SHA-512", name: str = "t") -> KafkaSettings:
        return self.settings("PASSWORD", name, sasl_mechanism=mechanism, sasl_username="alice", sasl_password=password)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker with a listener of each kind; all of them trust clients that our authority signed."""
    if reason := missing_tools():
        skip_or_fail(reason)
    if shutil.which("openssl") is None:
        skip_or_fail("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("secured")
    ours, theirs = Authority(folder / "ours", "ours"), Authority(folder / "theirs", "theirs")
    server = ours.sign("server", "DNS:localhost")
    shown = {
        "EXPIRED": ours.sign("expired", "DNS:localhost", days=-1),
        "STRANGER": ours.sign("stranger", "DNS:kafka.elsewhere.example"),
    }
    ports = {name: free_port() for name in ("PLAINTEXT", "CONTROLLER", *LISTENERS)}
    addresses = {name: f"{name}://localhost:{port}" for name, port in ports.items()}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    properties = {
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(address for name, address in addresses.items() if name != "CONTROLLER"),
        "controller.quorum.voters": f"1@localhost:{ports['CONTROLLER']}",
        "listener.security.protocol.map": ",".join(":".join(pair) for pair in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.password.sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.token.oauthbearer.sasl.jaas.config": (
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    for name in LISTENERS:
        listener = f"listener.name.{name.lower()}."
        properties |= {
            f"{listener}ssl.keystore.type": "PEM",
            f"{listener}ssl.keystore.location": str(shown.get(name, server).both),
            f"{listener}ssl.truststore.type": "PEM",
            f"{listener}ssl.truststore.location": str(ours.certificate),
        }
    for mechanism in MECHANISMS:
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        properties[f"listener.name.password.{mechanism.lower()}.sasl.jaas.config"] = login
    broker = Broker(folder / "broker", ports["PLAINTEXT"], properties)
    broker.start()
    try:
        _know_alice(broker.address)
        yield Secured(
            ports,
            ours.certificate,
            theirs.certificate,
            ours.sign("client", password=KEY_PASSWORD),
            theirs.sign("unknown"),
        )
    finally:
        broker.stop()


def _know_alice(address: str) -> None:
    client = AdminClient({"bootstrap.servers": address})
    for mechanism in MECHANISMS.values():
        alice = UserScramCredentialUpsertion("alice", ScramCredentialInfo(mechanism, 4096), b"right")
        for done in client.alter_user_scram_credentials([alice]).values():
            done.result(timeout=20)


async def judges_posts(settings: KafkaSettings) -> None:
    """Admin client, plain and transactional producer, group's consumer: all of them over these settings."""
    await make_topics(settings, partitions=1)
    await send(settings, [post_record(settings.input_topic, "p1")])
    async with running(settings, FakeJudge()):
        seen = await published(settings, 1)
    assert seen.judged == ["p1"]


async def test_posts_are_judged_over_tls(secured: Secured, unique: str) -> None:
    await judges_posts(secured.settings("TLS", unique))


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_posts_are_judged_with_a_password_over_tls(secured: Secured, unique: str, mechanism: str) -> None:
    await judges_posts(secured.login("right", mechanism, unique))


async def test_posts_are_judged_with_a_certificate_of_our_own(secured: Secured, unique: str) -> None:
    own = {"ssl_certfile": secured.client.certificate, "ssl_keyfile": secured.client.key, "ssl_password": KEY_PASSWORD}
    await judges_posts(secured.settings("MUTUAL", unique, **own))


async def refusal(settings: KafkaSettings) -> str:
    """What is said, at once, in one line."""
    begun = time.monotonic()
    with pytest.raises(Misconfigured) as refused:
        await wait_for_broker(settings, timeout_s=30)
    assert time.monotonic() - begun < 15 * slowness()
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_wrong_password_is_said_and_not_shown(secured: Secured, mechanism: str) -> None:
    said = await refusal(secured.login("not the right one", mechanism))
    assert "refused kafka.sasl_username 'alice' with its kafka.sasl_password" in said
    assert "not the right one" not in said


async def test_a_certificate_that_has_expired_is_said(secured: Secured) -> None:
    said = await refusal(secured.settings("EXPIRED"))
    assert f"localhost:{secured.ports['EXPIRED']}: its certificate has expired" in said


async def test_a_certificate_for_another_host_is_said(secured: Secured) -> None:
    said = await refusal(secured.settings("STRANGER"))
    assert f"localhost:{secured.ports['STRANGER']}: its certificate is for another host" in said


async def test_a_certificate_of_an_unknown_authority_is_said(secured: Secured) -> None:
    said = await refusal(secured.settings("TLS", ssl_cafile=secured.other))
    assert "its certificate is not trusted" in said
    assert "kafka.ssl_cafile" in said


async def test_a_broker_that_wants_a_certificate_of_ours_is_said(secured: Secured) -> None:
    said = await refusal(secured.settings("MUTUAL"))
    assert "it wants a certificate of ours" in said
    assert "kafka.ssl_certfile" in said


async def test_a_broker_that_does_not_trust_our_certificate_is_said(secured: Secured) -> None:
    own = {"ssl_certfile": secured.unknown_client.certificate, "ssl_keyfile": secured.unknown_client.key}
    said = await refusal(secured.settings("MUTUAL", **own))
    assert "does not trust" in said
    assert "kafka.ssl_certfile" in said


@pytest.mark.parametrize(
    ("listener", "protocol", "why"),
    [
        ("TLS", "PLAINTEXT", "but speaks TLS"),
        ("PASSWORD", "SASL_PLAINTEXT", "but speaks TLS"),
        ("TLS", "SASL_SSL", "it wants no password"),
    ],
)
async def test_the_wrong_protocol_is_said(secured: Secured, listener: str, protocol: str, why: str) -> None:
    said = await refusal(secured.settings(listener, security_protocol=protocol, **ALICE))
    assert f"kafka.security_protocol {protocol}" in said
    assert why in said


@pytest.mark.parametrize("listener", ["PASSWORD", "PLAINTEXT"])
async def test_a_broker_that_hangs_up_may_be_of_another_protocol(secured: Secured, listener: str) -> None:
    with pytest.raises(Fatal, match=r"it hangs up; kafka.security_protocol SSL may not be its own"):
        await wait_for_broker(secured.settings(listener, security_protocol="SSL"), timeout_s=1.0)


async def test_a_certificate_that_is_replaced_is_used_by_the_next_connection(secured: Secured, tmp_path: Path) -> None:
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"
    own = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_password": KEY_PASSWORD}
    settings = secured.settings("MUTUAL", **own)

    def mount(signed: Signed) -> None:
        for target, source in ((certificate, signed.certificate), (key, signed.key)):
            (fresh := target.with_suffix(".new")).write_bytes(source.read_bytes())
            fresh.replace(target)

    mount(secured.unknown_client)
    assert "does not trust" in await refusal(settings)
    mount(secured.client)
    client = clients.producer(settings)
    await client.start()
    certificate.write_text("half a file")
    with capture_logs() as said:
        await wait_for_broker(settings)
    assert [line["log_level"] for line in said] == ["warning"], "the last good certificate stays"
    assert client.client._ssl_context is ssl_context(settings), "one for all clients"
    await client.stop()


async def test_posts_are_judged_with_a_token(secured: Secured, unique: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(unsecured_token("worker", 3600))
    await judges_posts(secured.settings("TOKEN", unique, sasl_mechanism="OAUTHBEARER", oauth_token_file=token))


async def test_a_token_that_the_broker_refuses_is_said(secured: Secured, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(unsecured_token("worker", -3600))
    settings = secured.settings("TOKEN", sasl_mechanism="OAUTHBEARER", oauth_token_file=token)
    with pytest.raises((Fatal, Misconfigured), match=r"refused? the token"):
        await wait_for_broker(settings, timeout_s=1.0)


async def test_a_token_that_is_not_there_is_said(secured: Secured, tmp_path: Path) -> None:
    absent = tmp_path / "token"
    said = await refusal(secured.settings("TOKEN", sasl_mechanism="OAUTHBEARER", oauth_token_file=absent))
    assert f"kafka.oauth_token_file {absent}" in said


def unsecured_token(subject: str, life_s: int) -> str:
    """A JWT without a signature, as a broker takes it in its default mode, which is for development."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now - 7200, "exp": now + life_s}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
