"""Sections `policies`, `golden`, `banks`, `child_safety`, `media`, `judging`, `ops`, `console` and `logging`."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator

from moderation_service.languages.tags import canonical_tag
from moderation_service.settings.section import MIB, PACKAGE, IPNetwork, Section

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"  # a name of ours invites cloaking
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)  # RFC 6052


def shipped_policies() -> Path:
    """The starter pack, which the bundled model knows: in the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_policies"
    return (packaged if packaged.is_dir() else PACKAGE.parent / "policies") / "starter"


def _language(setting: str) -> str:
    return setting if setting == "auto" else canonical_tag(setting)


class PolicySettings(Section):
    """The owner's policy files."""

    path: Path = Field(default_factory=shipped_policies)
    """Folder of the policy files; unset: the pack `starter` that comes with the service."""
    shadow_path: Path | None = None
    """A second pack, judged beside the first, that decides nothing."""
    reload_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    """Time between looks at the files; 0: never."""
    language: Annotated[str, AfterValidator(_language)] = "auto"
    """Language of the prompt, a tag such as `de` that the policies have; `auto`: the post's."""


class GoldenSettings(Section):
    """Labelled sets that a change is tried on before it judges posts."""

    path: Path | None = None
    """Folder of the golden sets: `NAME.jsonl` and its baseline, `NAME.baseline.json`; unset: none."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Largest drop of a policy's recall, F1 or specificity that `moderation golden check` lets pass."""
    required: frozenset[str] = frozenset()
    """Sets that policies, model and calibration must have passed before they judge; empty: none."""


class BankSettings(Section):
    """Banks of known content."""

    path: Path | None = None
    """Folder of the banks, a file `NAME.jsonl` each; unset: none."""
    hma_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """Address of an HMA server that is asked for each image, http://HOST:PORT; unset: none."""
    hma_timeout_s: PositiveFloat = 2.0
    """For one lookup there."""


class ChildSafetySettings(Section):
    """The legal hold of posts with `route: child_safety`."""

    hold_path: Path | None = None
    """Folder of the legal hold, which must exist; unset: none, and no bank or policy may have a route."""
    hold_key: SecretStr | None = None
    """Keys, 32 bytes each in base64, with spaces or line breaks between: the first seals, the others still open."""
    hold_days: PositiveInt = 365
    """Days that a case is held, from the report or, where none was made yet, from the seizure."""

    @model_validator(mode="after")
    def _a_hold_has_a_key(self) -> Self:
        if self.hold_path and not self.hold_key:
            msg = "hold_path needs hold_key; mount a file and name it in MODERATION_CHILD_SAFETY__HOLD_KEY_FILE"
            raise ValueError(msg)
        return self


class MediaSettings(Section):
    """What may be fetched, and how large an image may be."""

    allowed_schemes: frozenset[Literal["data", "https", "http", "object", "file"]] = frozenset(
        {"data", "https", "object"}
    )
    """Kinds of image addresses that are read."""
    allowed_ports: frozenset[int] = frozenset({80, 443})
    """Ports that are dialled."""
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts that images may come from; empty: every public host."""
    allowed_networks: frozenset[IPNetwork] = frozenset()
    """Private networks that may be dialled, such as a CDN's; empty: none."""
    nat64_prefixes: frozenset[ipaddress.IPv6Network] = frozenset()
    """NAT64 prefixes of your network, besides 64:ff9b::/96."""
    allowed_buckets: frozenset[str] = frozenset()
    """Buckets that `object` addresses may name."""
    file_root: Path | None = None
    """Folder that `file` addresses may lie in."""
    max_images: PositiveInt = 10
    """Images of a post."""
    max_bytes: PositiveInt = 5 * MIB
    """Bytes of one image."""
    max_pixels: PositiveInt = 40_000_000
    """Pixels of one image, before it is decoded."""
    max_frames: PositiveInt = 4
    """Frames of an animated image that are judged, evenly spaced."""
    max_side: PositiveInt = 1024
    """Pixels of the longer side after decoding; larger images are shrunk."""
    max_pixel_bytes: PositiveInt = 1024 * MIB
    """Bytes of all decoded images held at once."""
    fetch_timeout_s: PositiveFloat = 10.0
    """For one image."""
    fetch_attempts: PositiveInt = 3
    """Tries of one image."""
    max_redirects: Annotated[int, Field(ge=0)] = 3
    """Redirects of one fetch; each is checked."""
    user_agent: Annotated[str, Field(pattern=r"^[!-~]([ -~]{0,254}[!-~])?$")] = _BROWSER
    """Header of fetches; a browser's, because a name of our own invites cloaking."""
    connections_per_host: PositiveInt = 8
    """Connections to one host."""
    fetches_per_post: PositiveInt = 4
    """Images of one post fetched at once."""
    concurrent_images: PositiveInt = 64
    """Images of all posts fetched at once; bounds the bytes held."""
    decode_threads: PositiveInt = Field(default_factory=lambda: min(8, os.cpu_count() or 1))
    """Threads that decode images; unset: as many as cores, 8 at most."""

    ocr: Literal["auto", "off"] = "off"
    """`auto`: the words in images are read and judged, where words are likely; needs the extra `ocr`."""
    ocr_threads: PositiveInt = Field(default_factory=lambda: min(4, max(1, (os.cpu_count() or 1) // 2)))
    """Threads that read words; unset: half as many as cores, 4 at most."""

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
    """Which posts are scored again by text alone and by images alone."""
    attribution_sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the other posts that are scored so too."""
    attribution_margin: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Distance to the `review` threshold within which a post counts as flagged."""
    result_cache_size: Annotated[int, Field(ge=0)] = 2_000
    """Contents whose results are kept for their duplicates, 4 KB each; 0: none."""
    near_duplicates: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Recent verdicts that near copies are linked to, 300 bytes each; 0: none."""
    min_label_mass: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least label mass of an answer; under it a policy decides nothing."""
    block_uncalibrated: bool = False
    """Whether a policy without a calibration may block, or only review."""
    calibration: Path | Literal["own", "none"] = "own"
    """A calibration file; `own`: the bundled model's, other models have none; `none`."""
    explain: Literal["auto", "generate", "template", "never"] = "auto"
    """Who explains a flag: the model, or a template; `auto`: the model, where it is not the bundled one."""
    redress: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """How a decision can be contested, for statements of reasons."""
    explain_timeout_s: PositiveFloat = 5.0
    """Waiting and writing; after it the template explains."""
    shadow_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the posts that the shadow model judges too, where there is one."""
    shadow_wait_s: Annotated[float, Field(ge=0)] = 0.25
    """Longest that a verdict waits for it once all else is done; 0: it never waits."""
    shadow_calibration: Path | None = None
    """Calibration file of the shadow model; unset: its scores count as they are."""


class OpsSettings(Section):
    """Metrics and probes of the worker."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from outside the pod
    """Address of metrics and probes."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Port of the worker's metrics and probes."""


class ConsoleSettings(Section):
    """The reviewers' pages, the HTTP API, and their database."""

    host: str = "0.0.0.0"  # noqa: S104 - reached from outside the pod
    """Address of the pages and the API."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of the pages and the API."""
    database_url: SecretStr = SecretStr("sqlite:///moderation-console.db")
    """sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME."""
    migrate: bool = True
    """Migrate the tables at the start; false: a job runs `moderation console --migrate` before."""
    judging_backend: Literal["off", "local", "openai"] = (
        "off"  # off: no second copy of a large model is loaded by accident
    )
    """Who judges for the API; `off`: nobody, so that no second copy of a model is loaded by accident."""
    max_in_flight: PositiveInt = 32
    """Posts judged for callers at once; more get 503."""
    judge_timeout_s: PositiveFloat = 30.0
    """For one call that judges."""
    requests_per_minute: PositiveInt = 600
    """Rate limit of one key."""
    require_categories: tuple[str, ...] = ()
    """`/v1/moderations` refuses a request unless a policy covers these; `["*"]`: all of OpenAI's 13."""
    retention_days: PositiveInt = 200
    """Verdicts and reviews are kept so long."""
    pending_post_ttl_hours: PositiveInt = 48
    """A post whose verdict does not come is kept so long."""
    lease_s: PositiveFloat = 300.0
    """A post in review is one reviewer's for so long."""
    undo_s: Annotated[float, Field(ge=0)] = 8.0
    """A review can be taken back for so long, and is published after."""
    session_hours: PositiveFloat = 12.0
    """A reviewer is logged in for so long."""
    ops_port: Annotated[int, Field(ge=0, le=65535)] = 9465
    """Port of the console's metrics, on `ops.host`."""
    trusted_proxies: frozenset[IPNetwork] = frozenset()
    """Networks of the proxies whose `X-Forwarded-For` is believed: the Ingress controller's own addresses."""
    secure_cookies: bool = True
    """False only where the pages are read over plain HTTP on this machine."""
    links: dict[str, Annotated[str, Field(pattern=r"^https?://")]] = Field(default={})
    """Shown on the overview, such as {"Grafana": "https://grafana.example"}."""
    thumbnail_side: Annotated[int, Field(ge=64, le=2048)] = 512
    """Pixels of a thumbnail's longer side."""

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
    """Least level of log lines."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto`: JSON, unless standard error is a terminal."""
    allow_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the lines of allowed posts that are written; the others are all written."""
