"""Section `kafka`."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator

from moderation_service.settings.section import MIB, Section

OWN_HEADERS = ("ce_", "traceparent", "content-type", "dlq.")
"""Prefixes of the headers that the service sets itself."""
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(:\d{1,5})?")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


class KafkaSettings(Section):
    """Brokers, topics, and the delivery promise."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers, HOST:PORT with commas between several."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How clients connect to the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """Authentication with a SASL protocol."""
    sasl_username: str | None = None
    """User of PLAIN and SCRAM."""
    sasl_password: SecretStr | None = None
    """Password of PLAIN and SCRAM."""
    oauth_token_url: str | None = None
    """OAUTHBEARER by OIDC client credentials: the token endpoint."""
    oauth_client_id: str | None = None
    """Client id at the token endpoint."""
    oauth_client_secret: SecretStr | None = None
    """Client secret at the token endpoint."""
    oauth_scope: str | None = None
    """Scope asked of the token endpoint."""
    oauth_token_file: Path | None = None
    """OAUTHBEARER by a mounted token, read at every connection."""
    oauth_token_provider: str | None = None
    """OAUTHBEARER by a function of yours, MODULE:FUNCTION, that returns a token."""
    ssl_cafile: Path | None = None
    """CA certificates of the brokers; unset: the system's."""
    ssl_certfile: Path | None = None
    """Client certificate."""
    ssl_keyfile: Path | None = None
    """Key of the client certificate."""
    ssl_password: SecretStr | None = None
    """Password of that key."""
    group: str = "moderation"
    """Consumer group of the workers."""
    input_topic: str = "moderation.posts"
    """Posts."""
    priority_topics: tuple[str, ...] = ()
    """More input topics, the most urgent first; all of them go before `input_topic`."""
    output_topic: str = "moderation.verdicts"
    """Verdicts."""
    dead_letter_topic: str = "moderation.posts.dlq"
    """Records that can never be judged."""
    review_topic: str = "moderation.reviews"
    """Reviewers' decisions."""
    audit_topic: str = "moderation.audit"
    """Administrative actions."""
    banks_topic: str = "moderation.banks"
    """Banks of known content; compacted."""
    escalation_topic: str = "moderation.escalations"
    """Posts that a bank or policy escalates, or gives a route of its own."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """The promise: `exactly_once` needs transactions of the brokers."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without a committed offset begins."""
    forward_headers: frozenset[str] = frozenset()
    """Headers of a post's record, such as tenant, that its verdict gets too."""
    max_message_bytes: Annotated[int, Field(ge=64 * 1024)] = 8 * MIB
    """Largest record: key, value and headers, decompressed."""
    session_timeout_s: PositiveFloat = 10.0
    """A worker that does not answer for so long loses its partitions."""
    rebalance_timeout_s: PositiveFloat = 30.0
    """How long a rebalance waits for a worker."""
    transaction_timeout_s: PositiveFloat = 30.0
    """How long the brokers keep a transaction open."""
    request_timeout_s: PositiveFloat = 20.0
    """How long a request to a broker may take."""
    max_in_flight_posts: PositiveInt = 256
    """Posts in flight in one worker."""
    max_in_flight_bytes: PositiveInt = 64 * MIB
    """Bytes of records in flight in one worker, decompressed."""
    max_batch_posts: PositiveInt = 500
    """Posts in one transaction."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """Compression of what is published."""
    connections_max_idle_s: PositiveFloat = 180.0
    """Idle connections are closed after this; some clouds cut them after four minutes."""
    client_rack: str | None = None
    """Posts are fetched from a replica in this rack or zone (KIP-392)."""
    linger_ms: NonNegativeInt = 200
    """Least time between a partition's transactions of few posts."""
    drain_timeout_s: PositiveFloat = 8.0
    """How long a stopping worker finishes what is in flight."""
    dlq_breaker_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Intake pauses over this share of dead letters in the window; 1: never."""
    dlq_breaker_window: PositiveInt = 200
    """Records that the share is taken of."""
    dlq_breaker_pause_s: PositiveFloat = 60.0
    """How long intake pauses."""
    # by PARTITION of input_topic, or TOPIC:PARTITION: records below this offset are known to be lost
    acknowledged_loss_offsets: dict[int | str, int] = Field(default={})
    """Lost records below these offsets are known; by PARTITION of `input_topic`, or TOPIC:PARTITION."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            if not _ADDRESS.fullmatch(server.strip()):
                msg = f"{server!r} is not an address; should be HOST:PORT, with commas between several"
                raise ValueError(msg)
        return servers

    @field_validator("forward_headers")
    @classmethod
    def _are_not_ours(cls, names: frozenset[str]) -> frozenset[str]:
        if own := sorted(name for name in names if name.lower().startswith(OWN_HEADERS)):
            msg = f"the service sets {', '.join(own)} itself; name other headers"
            raise ValueError(msg)
        return names

    @field_validator("group")
    @classmethod
    def _is_a_group(cls, name: str) -> str:
        if not name.strip():
            msg = "is empty; should name the consumer group"
            raise ValueError(msg)
        return name

    @field_validator(
        *("input_topic", "output_topic", "dead_letter_topic", "review_topic", "audit_topic", "banks_topic"),
        "escalation_topic",
    )
    @classmethod
    def _is_a_topic(cls, name: str) -> str:
        if not _TOPIC.fullmatch(name) or name in {".", ".."}:
            msg = f"{name!r} is not a topic; should be 1 to 249 of the letters a-z, A-Z, 0-9, '.', '_' and '-'"
            raise ValueError(msg)
        return name

    @field_validator("priority_topics")
    @classmethod
    def _are_topics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._is_a_topic(name) for name in names)

    @field_validator("acknowledged_loss_offsets")
    @classmethod
    def _are_partitions(cls, losses: dict[int | str, int]) -> dict[int | str, int]:
        for name in losses:
            if not str(name).rpartition(":")[2].isdecimal():
                msg = f"{name!r} is not a partition; should be its number, or TOPIC:NUMBER"
                raise ValueError(msg)
        return losses

    @property
    def input_topics(self) -> tuple[str, ...]:
        """All topics that posts come from, the most urgent first."""
        return (*self.priority_topics, self.input_topic)

    def acknowledged_loss(self, topic: str, partition: int) -> int:
        """Below which offset of a partition it is known that records are lost."""
        names = {f"{topic}:{partition}", *([str(partition)] if topic == self.input_topic else [])}
        return max((offset for name, offset in self.acknowledged_loss_offsets.items() if str(name) in names), default=0)

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        names = [getattr(self, name) for name in type(self).model_fields if name.endswith("_topic")]
        names += self.priority_topics
        if len(set(names)) < len(names):
            msg = f"each topic needs a name of its own, or the service reads what it writes; now {', '.join(names)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism == "OAUTHBEARER":
            sources = (self.oauth_token_url, self.oauth_token_file, self.oauth_token_provider)
            if sum(source is not None for source in sources) != 1:
                msg = "sasl_mechanism OAUTHBEARER needs one of oauth_token_url, oauth_token_file, oauth_token_provider"
                raise ValueError(msg)
            if self.oauth_token_url and not (self.oauth_client_id and self.oauth_client_secret):
                msg = "oauth_token_url needs oauth_client_id and oauth_client_secret"
                raise ValueError(msg)
        elif not (self.sasl_username and self.sasl_password):
            msg = f"security_protocol {self.security_protocol} needs sasl_username and sasl_password"
            raise ValueError(msg)
        return self
