"""One frozen settings tree.

Sources, strongest first: arguments, environment `MODERATION_<SECTION>__<FIELD>`, the same name with
`_FILE` (the path of a mounted secret), a TOML file. Unknown names are errors.
"""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from moderation_service.encodings import decode
from moderation_service.errors import Misconfigured
from moderation_service.toml_file import TomlFile, read_toml

PREFIX = "MODERATION_"
MIB = 1024 * 1024
PACKAGE = Path(__file__).parent
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(:\d{1,5})?")
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"  # a name of ours invites cloaking
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)  # RFC 6052
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_URL = re.compile(r"https?://[^\s/@?#]+[^\s@?#]*")
OWN_HEADERS = ("ce_", "traceparent", "content-type", "dlq.")
"""What the names of headers begin with that the service sets."""
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
DEMO_MODEL = PACKAGE / "demo" / "pictogram-glm4v"
DEMO_CALIBRATIONS = PACKAGE / "demo" / "calibrations"


def shipped_policies() -> Path:
    """The eight policies that come with the service: in the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_policies"
    return packaged if packaged.is_dir() else PACKAGE.parent / "policies"


class Section(BaseModel):
    """A part of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """Brokers, topics, and the delivery promise."""

    bootstrap_servers: str = "localhost:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    oauth_token_url: str | None = None  # with OAUTHBEARER: client credentials, or one of the two others
    oauth_client_id: str | None = None
    oauth_client_secret: SecretStr | None = None
    oauth_scope: str | None = None
    oauth_token_file: Path | None = None  # read at every connection
    oauth_token_provider: str | None = None  # MODULE:FUNCTION that returns a token
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: SecretStr | None = None
    group: str = "moderation"
    input_topic: str = "moderation.posts"
    priority_topics: tuple[str, ...] = ()  # more input topics, the most urgent first; all go before input_topic
    output_topic: str = "moderation.verdicts"
    dead_letter_topic: str = "moderation.posts.dlq"
    review_topic: str = "moderation.reviews"
    audit_topic: str = "moderation.audit"
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    forward_headers: frozenset[str] = frozenset()  # of a post's record, such as tenant; its verdict has them too
    max_message_bytes: Annotated[int, Field(ge=64 * 1024)] = 8 * MIB
    session_timeout_s: PositiveFloat = 10.0
    rebalance_timeout_s: PositiveFloat = 30.0
    transaction_timeout_s: PositiveFloat = 30.0
    request_timeout_s: PositiveFloat = 20.0
    max_in_flight_posts: PositiveInt = 256
    max_in_flight_bytes: PositiveInt = 64 * MIB
    max_batch_posts: PositiveInt = 500
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    connections_max_idle_s: PositiveFloat = 180.0  # some clouds cut idle connections after four minutes
    client_rack: str | None = None  # posts are fetched from a replica in this rack or zone (KIP-392)
    linger_ms: NonNegativeInt = 200  # a partition's transactions of few posts begin at least so far apart
    drain_timeout_s: PositiveFloat = 8.0
    dlq_breaker_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the window; over it intake pauses. 1: never
    dlq_breaker_window: PositiveInt = 200  # records
    dlq_breaker_pause_s: PositiveFloat = 60.0
    acknowledged_loss_offsets: dict[
        int | str, int
    ] = {}  # by PARTITION of input_topic, or TOPIC:PARTITION: known below here

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        for server in servers.split(","):
            if not _ADDRESS.fullmatch(server.strip()):
                msg = f"{server!r} is no address; should be HOST:PORT, with commas between several"
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

    @field_validator("input_topic", "output_topic", "dead_letter_topic", "review_topic", "audit_topic")
    @classmethod
    def _is_a_topic(cls, name: str) -> str:
        if not _TOPIC.fullmatch(name) or name in {".", ".."}:
            msg = f"{name!r} is no topic; should be 1 to 249 of the letters a-z, A-Z, 0-9, '.', '_' and '-'"
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
                msg = f"{name!r} is no partition; should be its number, or TOPIC:NUMBER"
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


LayoutName = Literal["post_first", "policies_first"]


class EngineSettings(Section):
    """Which model answers, where, and what it reads."""

    kind: Literal["local", "openai"] = "local"
    model: str = str(DEMO_MODEL)
    revision: str | None = None
    digests: Path | None = None  # of the weights, by k8s/model/digests.sh: a start need not read them all again
    device: str = "auto"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    quantization: Literal["int8", "int8_dynamic", "fp8"] | None = None  # of the linear layers' weights
    layout: LayoutName = "post_first"
    prompt: Literal["auto", "brief", "full"] = "auto"  # auto: brief for the bundled model, full for every other
    labels: Annotated[tuple[str, ...], Field(min_length=1)] = ("yes/no", "Yes/No", "是/否")  # violates/does not
    answer_prefix: str = "auto"  # what the model says before a label word; auto: found at the start
    max_context_tokens: Annotated[int, Field(ge=256)] = 16384  # and no more than the model's own context
    max_batch_tokens: Annotated[int, Field(ge=256)] = 16384
    base_url: str | None = None  # with kind openai: of a server, http://HOST:PORT/v1
    api_key: SecretStr | None = None
    request_timeout_s: PositiveFloat = 60.0
    startup_timeout_s: Annotated[float, Field(ge=0)] = 1800.0  # run and console wait so long for a server to come up
    concurrent_requests: PositiveInt = 64  # to the server at once; each is one question about one post

    @field_validator("labels")
    @classmethod
    def _are_pairs(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        sides = [pair.split("/") for pair in labels]
        if not all(len(pair) == 2 and all(pair) for pair in sides):  # noqa: PLR2004 - a pair
            msg = 'should be pairs of words, the one that says "violates" first: ["yes/no", "unsafe/safe"]'
            raise ValueError(msg)
        if both := {yes for yes, _ in sides} & {no for _, no in sides}:
            msg = f"{', '.join(sorted(both))} is on both sides; each word should stand for one answer"
            raise ValueError(msg)
        return labels

    @cached_property
    def is_bundled(self) -> bool:
        """Whether the model is the bundled one, here or on a server."""
        path = Path(self.model)
        return path.name == DEMO_MODEL.name if self.kind == "openai" else path.resolve() == DEMO_MODEL.resolve()

    @cached_property
    def prompt_mode(self) -> Literal["brief", "full"]:
        """`prompt` with `auto` resolved: the bundled model was trained on bare questions, others need the policies."""
        if self.prompt != "auto":
            return self.prompt
        return "brief" if self.is_bundled else "full"

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> Self:
        if self.kind == "openai" and not _URL.fullmatch(self.base_url or ""):
            msg = "kind openai needs base_url, the address of a server: http://HOST:PORT/v1, without a key in it"
            raise ValueError(msg)
        return self


class PolicySettings(Section):
    """The owner's policy files."""

    path: Path = Field(default_factory=shipped_policies)
    shadow_path: Path | None = None  # a whole second pack, judged beside and deciding nothing
    reload_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0  # between looks at the files; 0: never
    language: Literal["auto", "en", "zh"] = "auto"


class MediaSettings(Section):
    """What may be fetched, and how large an image may be."""

    allowed_schemes: frozenset[Literal["data", "https", "http", "object", "file"]] = frozenset(
        {"data", "https", "object"}
    )
    allowed_ports: frozenset[int] = frozenset({80, 443})
    allowed_hosts: frozenset[str] = frozenset()
    allowed_networks: frozenset[IPNetwork] = frozenset()
    nat64_prefixes: frozenset[ipaddress.IPv6Network] = frozenset()  # your own network's, beside 64:ff9b::/96
    allowed_buckets: frozenset[str] = frozenset()
    file_root: Path | None = None
    max_images: PositiveInt = 10
    max_bytes: PositiveInt = 5 * MIB
    max_pixels: PositiveInt = 40_000_000
    max_frames: PositiveInt = 4
    max_side: PositiveInt = 1024
    max_pixel_bytes: PositiveInt = 1024 * MIB  # of all images held at once
    fetch_timeout_s: PositiveFloat = 10.0
    fetch_attempts: PositiveInt = 3
    max_redirects: Annotated[int, Field(ge=0)] = 3
    user_agent: Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,254}[!-~])?$")] = _BROWSER
    connections_per_host: PositiveInt = 8
    fetches_per_post: PositiveInt = 4
    concurrent_images: PositiveInt = 64  # fetched, of all posts together; bounds the bytes held
    decode_threads: PositiveInt = Field(default_factory=lambda: min(8, os.cpu_count() or 1))

    @field_validator("nat64_prefixes")
    @classmethod
    def _are_nat64_prefixes(cls, prefixes: frozenset[ipaddress.IPv6Network]) -> frozenset[ipaddress.IPv6Network]:
        for prefix in prefixes:
            if prefix.prefixlen not in _NAT64_LENGTHS:
                msg = f"{prefix} is no NAT64 prefix; its length should be one of {', '.join(map(str, _NAT64_LENGTHS))}"
                raise ValueError(msg)
        return prefixes


class JudgingSettings(Section):
    """How scores become a verdict."""

    attribution: Literal["flagged", "always", "never"] = "flagged"
    attribution_sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    attribution_margin: Annotated[float, Field(ge=0, le=1)] = 0.15
    result_cache_size: Annotated[int, Field(ge=0)] = 2_000  # contents kept for their duplicates, 4 KB each; 0: none
    min_label_mass: Annotated[float, Field(ge=0, le=1)] = 0.5  # of an answer; less decides nothing
    block_uncalibrated: bool = False  # whether a policy that the calibration does not know may block, or only review
    calibration: Path | Literal["own", "none"] = "own"  # own: the bundled model's; other models have none
    explain: Literal["auto", "generate", "template", "never"] = "auto"
    redress: Annotated[str, Field(min_length=1, max_length=2000)] | None = None  # how to contest, in statements
    explain_timeout_s: PositiveFloat = 5.0  # waiting and writing; then the template says it


class OpsSettings(Section):
    """Metrics and probes of the worker."""

    host: str = "0.0.0.0"  # noqa: S104 - probes and Prometheus come from outside the pod
    port: Annotated[int, Field(ge=0, le=65535)] = 9464


class ConsoleSettings(Section):
    """The reviewers' pages, the HTTP API, and their database."""

    host: str = "0.0.0.0"  # noqa: S104 - reviewers and callers come from outside the pod
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    database_url: SecretStr = SecretStr("sqlite:///moderation-console.db")  # or postgresql://USER:PASSWORD@HOST/NAME
    migrate: bool = True  # the tables, at the start; false: a job does it before, with `moderation console --migrate`
    judging_backend: Literal["off", "local", "openai"] = (
        "off"  # off: no second copy of a large model is loaded by accident
    )
    max_in_flight: PositiveInt = 32  # posts being judged for callers; more are told to come again
    judge_timeout_s: PositiveFloat = 30.0
    requests_per_minute: PositiveInt = 600  # a key
    retention_days: PositiveInt = 200  # of verdicts and reviews
    pending_post_ttl_hours: PositiveInt = 48  # a post whose verdict has not come is kept so long
    lease_s: PositiveFloat = 300.0  # a reviewer has a job to themselves
    undo_s: Annotated[float, Field(ge=0)] = 8.0  # a review can be taken back, and is not published before
    session_hours: PositiveFloat = 12.0
    ops_port: Annotated[int, Field(ge=0, le=65535)] = 9465  # of its metrics, on `ops.host`; never the pages' port
    trusted_proxies: frozenset[IPNetwork] = frozenset()  # the Ingress controller's own addresses, no wider network
    secure_cookies: bool = True  # false only where the pages are read over plain HTTP on this machine
    thumbnail_side: Annotated[int, Field(ge=64, le=2048)] = 512  # pixels

    @field_validator("database_url")
    @classmethod
    def _is_a_known_database(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("sqlite:///", "postgresql://")):
            msg = "should be sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/NAME"
            raise ValueError(msg)
        return url


class LoggingSettings(Section):
    """JSON by default when standard error is no terminal."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"
    allow_sample: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the lines of allowed posts; the others are all written


class _Environment(EnvSettingsSource):
    """The environment, with each mounted secret `NAME_FILE` read into `NAME`, and no unknown section let by."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        names = {name: value for name, value in super()._load_env_vars().items() if name.startswith(PREFIX.lower())}
        for name in [name for name in names if name.endswith("_file") and not self._is_field(name)]:
            path, target = names.pop(name), name.removesuffix("_file")
            if target in names:
                msg = f"{name.upper()} and {target.upper()} are both set; keep one"
                raise Misconfigured(msg)
            try:
                names[target] = decode(Path(path or "").read_bytes()).strip()
            except OSError as error:
                msg = f"{name.upper()}: cannot read {path} ({error.strerror}); it should name a readable file"
                raise Misconfigured(msg) from error
            except ValueError as error:
                msg = f"{name.upper()}: {path} {error}"
                raise Misconfigured(msg) from error
        for name in names:
            section = name.removeprefix(PREFIX.lower()).partition("__")[0]
            if section not in self.settings_cls.model_fields:
                msg = f"{name.upper()}: unknown section {section!r}; one of {', '.join(self.settings_cls.model_fields)}"
                raise Misconfigured(msg)
        return {name: self._as_json(name, value) for name, value in names.items()}

    def _as_json(self, name: str, value: str | None) -> str | None:
        """A list with commas as the JSON that is read. Raises Misconfigured where it should be JSON, and is none."""
        section, _, field = name.removeprefix(PREFIX.lower()).partition("__")
        info = getattr(self.settings_cls.model_fields[section].annotation, "model_fields", {}).get(field)
        kind = get_origin(info.annotation) if info else None
        if value is None or (field and kind not in {frozenset, dict}):
            return value
        if kind is frozenset and not value.lstrip().startswith("["):
            return json.dumps([part.strip() for part in value.split(",") if part.strip()])
        try:
            json.loads(value)
        except ValueError:
            right = 'A,B or ["A", "B"]' if kind is frozenset else 'a table in JSON, such as {"0": 1500}'
            if not field:
                right = f"a table in JSON; or set its fields, as {name.upper()}__FIELD"
            msg = f"{name.upper()} (settings {'.'.join(filter(None, (section, field)))}): should be {right}"
            raise Misconfigured(msg) from None
        return value

    def _is_field(self, name: str) -> bool:
        section, _, field = name.removeprefix(PREFIX.lower()).partition("__")
        info = self.settings_cls.model_fields.get(section)
        return info is not None and field in getattr(info.annotation, "model_fields", {})


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    engine: EngineSettings = EngineSettings()
    policies: PolicySettings = PolicySettings()
    media: MediaSettings = MediaSettings()
    judging: JudgingSettings = JudgingSettings()
    ops: OpsSettings = OpsSettings()
    console: ConsoleSettings = ConsoleSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def explanations(self) -> Literal["generate", "template", "never"]:
        """`judging.explain` with `auto` resolved: the bundled model has learnt yes and no alone, any other can talk."""
        if self.judging.explain != "auto":
            return self.judging.explain
        return "template" if self.engine.is_bundled else "generate"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment."""
        return init_settings, _Environment(settings_cls)


def load_settings(toml: Path | None = None, **arguments: dict[str, Any]) -> Settings:
    """Read the whole tree; `arguments` are sections that go before all else.

    Raises Misconfigured with a line a fault: the name as the environment spells it, and what would be right.
    """
    file = read_toml(toml) if toml else None

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *args: PydanticBaseSettingsSource,
            **kwargs: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Arguments, then the environment, then the TOML file."""
            sources = super().settings_customise_sources(settings_cls, *args, **kwargs)
            return (*sources, InitSettingsSource(settings_cls, file.values)) if file else sources

    try:
        return FromFile(**arguments)  # type: ignore[arg-type]
    except ValidationError as error:
        raise Misconfigured("; ".join(_explain(fault, file) for fault in error.errors())) from error
    except SettingsError as error:
        msg = f"settings: {error}"
        raise Misconfigured(msg) from error


class BareSettings(Settings):
    """The defaults and arguments alone, whatever the environment says: for the demo."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only."""
        return (init_settings,)


def _explain(fault: ErrorDetails, file: TomlFile | None) -> str:
    path = [str(part) for part in fault["loc"]]
    variable = f"{PREFIX}{'__'.join(path).upper()}"
    name = f"{variable} (settings {'.'.join(path)})"
    if file and variable not in os.environ and (place := file.place(path[0], "".join(path[1:2]))):
        name = f"{place}: {name}"
    if fault["type"] == "extra_forbidden":
        section = Settings.model_fields.get(path[0])
        known = getattr(section.annotation if section else Settings, "model_fields", {})
        return f"{name}: unknown setting; known are {', '.join(known)}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
