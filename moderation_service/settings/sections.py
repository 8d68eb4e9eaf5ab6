"""Sections `policies`, `media`, `judging`, `ops`, `console` and `logging`."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator

from moderation_service.settings.section import MIB, PACKAGE, IPNetwork, Section

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"  # a name of ours invites cloaking
_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)  # RFC 6052


def shipped_policies() -> Path:
    """The eight policies that come with the service: in the wheel, or beside the package in a checkout."""
    packaged = PACKAGE / "_policies"
    return packaged if packaged.is_dir() else PACKAGE.parent / "policies"


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
