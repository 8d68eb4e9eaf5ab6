"""Every aiokafka object is built here, from the settings: security, sizes, timeouts. None is started here."""

from collections.abc import Iterable
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from moderation_service.kafka.corrupt_batches import name_corrupt_batches
from moderation_service.kafka.oauth import token_provider
from moderation_service.kafka.record_batches import bound_batches
from moderation_service.kafka.sizes import batch_limit, record_limit
from moderation_service.kafka.tls import ssl_context
from moderation_service.settings import MIB, KafkaSettings

CLIENT_ID = "moderation-service"
_FETCH_WAIT_MS = 200  # a resumed partition waits for the fetch under way, at most this long
_FETCH_BYTES = MIB // 8  # compressed: some 500 small records wait, decoded in one go; a larger record comes alone
_HEARTBEAT_MS = 1000
_METADATA_AGE_MS = 30_000  # new partitions of a topic are read this soon
_PRODUCER_METADATA_AGE_MS = 300_000  # and written to this soon: each partition that is read has a producer
_MAX_POLL_INTERVAL_MS = 120_000
_PRODUCER_BACKOFF_MS = 40  # a transaction's first write often comes before the markers of the last one are written


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
