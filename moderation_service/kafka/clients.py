"""Every aiokafka client is built here, from the settings: security, sizes, timeouts. None is started here.

`wait_for_broker` waits for a broker before anything is started: one clear line where none answers or lets us in.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Iterable
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from moderation_service.backoff import Backoff
from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka.aiokafka_workarounds import bound_batches, name_corrupt_batches
from moderation_service.kafka.record_sizes import batch_limit, record_limit
from moderation_service.kafka.security import TokenRefusedError, ssl_context, token_provider
from moderation_service.settings import MIB, KafkaSettings

BROKER_TIMEOUT_S = 20.0
_BACKOFF = Backoff(first_s=0.25, longest_s=3.0, jitter=0.0)
_TLS_ALERT = 0x15  # the first byte of a TLS record that says no
_EXPIRED = 10  # OpenSSL's codes of what is wrong with a certificate
_OTHER_HOST = frozenset({62, 64})
CLIENT_ID = "moderation-service"
_FETCH_WAIT_MS = 200  # a resumed partition waits for the fetch under way, at most this long
_FETCH_BYTES = MIB // 8  # compressed: some 500 small records wait, decoded in one go; a larger record comes alone
_HEARTBEAT_MS = 1000
_METADATA_AGE_MS = 30_000  # new partitions of a topic are read this soon
_PRODUCER_METADATA_AGE_MS = 300_000  # and written to this soon: each partition that is read has a producer
_MAX_POLL_INTERVAL_MS = 120_000
_PRODUCER_BACKOFF_MS = 40  # a transaction's first write often comes before the markers of the last one are written


async def wait_for_broker(settings: KafkaSettings, timeout_s: float | None = None) -> None:
    """Connect to one of the brokers, and try again for `timeout_s` seconds (default: BROKER_TIMEOUT_S).

    Raises Misconfigured where a broker answers and refuses us, Fatal naming the address where none answers.
    """
    arguments = await asyncio.to_thread(connection_arguments, settings)  # reads the certificates
    hosts = collect_hosts(arguments.pop("bootstrap_servers"))
    tokens = arguments.get("sasl_oauth_token_provider")
    deadline, failures = time.monotonic() + (timeout_s or BROKER_TIMEOUT_S), 0
    while True:
        reason = "no address"
        for host, port, _ in hosts:
            left = max(1.0, deadline - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    if tokens is not None:  # before anything connects: what is wrong with it is said by itself
                        await tokens.token()
                    await _ask(host, port, arguments)
            except (OSError, KafkaError, TimeoutError, ValueError) as error:
                if isinstance(error, TokenRefusedError):
                    raise Misconfigured(str(error)) from None
                if said := _refusal(settings, error.__cause__ or error):
                    msg = f"{host}:{port}: {said}"
                    raise Misconfigured(msg) from None
                reason = _in_words(error, settings)
            else:
                return
        failures += 1
        pause = _BACKOFF.delay_s(failures)
        if time.monotonic() + pause > deadline:
            msg = f"kafka.bootstrap_servers {settings.bootstrap_servers}: no broker answers ({reason})"
            raise Fatal(msg)
        await asyncio.sleep(pause)


async def _ask(host: str, port: int, arguments: dict[str, Any]) -> None:
    connection = await create_conn(host, port, **arguments)
    try:
        # A listener that wants a password answers what it can do to anybody, and only then closes the door.
        answer = await connection.send(MetadataRequest([]))
        if not answer.brokers:
            if "sasl_oauth_token_provider" in arguments:  # refused, which aiokafka does not notice
                raise AuthenticationFailedError
            msg = "it is not in its cluster yet"  # as one that was frozen for long
            raise ConnectionError(msg)
    finally:
        connection.close()


def _refusal(settings: KafkaSettings, error: BaseException) -> str | None:
    """What the broker refuses that waiting can't change; None where it may be another time."""
    match error:
        case ssl.SSLError():
            return _tls_refusal(settings, error)
        case asyncio.IncompleteReadError(expected=int(expected)) if expected >> 24 == _TLS_ALERT:
            return f"it does not answer as kafka.security_protocol {settings.security_protocol}, but speaks TLS"
        case SaslAuthenticationFailed() | AuthenticationFailedError() | ValueError():
            who = f"kafka.sasl_username {settings.sasl_username!r} with its kafka.sasl_password"
            return f"it refused {'the token' if settings.sasl_mechanism == 'OAUTHBEARER' else who}"
        case IllegalSaslStateError():
            return f"it wants no password, so kafka.security_protocol {settings.security_protocol} is not its own"
        case UnsupportedSaslMechanismError():
            return f"it does not take kafka.sasl_mechanism {settings.sasl_mechanism}; set the one that it offers"
    return None


def _tls_refusal(settings: KafkaSettings, error: ssl.SSLError) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=why):
            if code == _EXPIRED:
                return "its certificate has expired; it needs a new one"
            if code in _OTHER_HOST:
                return (
                    f"its certificate is for another host ({why}); kafka.bootstrap_servers should name it as that does"
                )
            return f"its certificate is not trusted ({why}); check kafka.ssl_cafile"
        case ssl.SSLError(reason=str(why)) if "ALERT" in why and ("CERTIFICATE" in why or "UNKNOWN_CA" in why):
            if settings.ssl_certfile is None:
                return "it wants a certificate of ours; set kafka.ssl_certfile and kafka.ssl_keyfile"
            return f"it does not trust our certificate ({why}); check kafka.ssl_certfile"
    return f"it does not answer as kafka.security_protocol {settings.security_protocol} ({error.reason})"


def _in_words(error: Exception, settings: KafkaSettings) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error.__cause__, EOFError) or isinstance(error, ConnectionResetError):
        return f"it hangs up; kafka.security_protocol {settings.security_protocol} may not be its own"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return str(error) or type(error).__name__


def consumer(
    settings: KafkaSettings,
    *topics: str,
    group: str | None = None,
    reset: str | None = None,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> AIOKafkaConsumer:
    """Build a reader; with a `group` its member. Offsets are never committed by themselves.

    `reset` goes before `auto_offset_reset`. Raises Misconfigured for files that can't be read.
    """
    name_corrupt_batches()
    bound_batches(record_limit(settings), max(settings.max_in_flight_bytes, record_limit(settings)))
    session = _ms(settings.session_timeout_s)
    return AIOKafkaConsumer(
        *topics,
        **connection_arguments(settings),
        group_id=group,
        isolation_level=isolation,
        enable_auto_commit=False,
        auto_offset_reset=reset or settings.auto_offset_reset,
        check_crcs=True,
        max_partition_fetch_bytes=record_limit(settings),
        fetch_max_bytes=_FETCH_BYTES,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        session_timeout_ms=session,
        heartbeat_interval_ms=min(_HEARTBEAT_MS, session // 3),
        rebalance_timeout_ms=_ms(settings.rebalance_timeout_s),
        max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
        metadata_max_age_ms=_METADATA_AGE_MS,
        connections_max_idle_ms=_ms(settings.connections_max_idle_s),
        client_rack=settings.client_rack,
    )


def producer(
    settings: KafkaSettings, transactional_id: str | None = None, *, topics: Iterable[str] = ()
) -> AIOKafkaProducer:
    """Build an idempotent producer, transactional with an id; every write waits for all in-sync replicas.

    Give one that lives long its `topics`: until it has sent something, aiokafka asks for the metadata of all topics of
    the cluster (https://github.com/aio-libs/aiokafka/issues/440). Raises Misconfigured for files that can't be read.
    """
    transaction: dict[str, Any] = {}
    if transactional_id is not None:
        transaction = {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": _ms(settings.transaction_timeout_s),
        }
    built = AIOKafkaProducer(
        **connection_arguments(settings),
        **transaction,
        enable_idempotence=True,
        acks="all",
        compression_type=None if settings.compression == "none" else settings.compression,
        connections_max_idle_ms=_ms(settings.connections_max_idle_s),
        max_request_size=record_limit(settings),
        max_batch_size=batch_limit(settings),
        metadata_max_age_ms=_PRODUCER_METADATA_AGE_MS,
        retry_backoff_ms=_PRODUCER_BACKOFF_MS,
    )
    if wanted := set(topics):
        built.client.set_topics(wanted)
    return built


def admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """Build a client for topics. Raises Misconfigured for files that can't be read."""
    idle_ms = _ms(settings.connections_max_idle_s)
    return AIOKafkaAdminClient(**connection_arguments(settings), connections_max_idle_ms=idle_ms)


def connection_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Address and security, as every aiokafka object takes them. Raises Misconfigured for files that can't be read."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": CLIENT_ID,
        "request_timeout_ms": _ms(settings.request_timeout_s),
        "security_protocol": settings.security_protocol,
    }
    if "SSL" in settings.security_protocol:
        arguments["ssl_context"] = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            arguments["sasl_oauth_token_provider"] = token_provider(settings)
        elif settings.sasl_password:
            arguments["sasl_plain_username"] = settings.sasl_username
            arguments["sasl_plain_password"] = settings.sasl_password.get_secret_value()
    return arguments


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
