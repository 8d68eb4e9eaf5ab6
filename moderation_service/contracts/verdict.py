"""A verdict: what was decided on a post, and all it takes to prove and replay it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, SkipValidation, model_validator

from moderation_service.contracts.audit import AuditDraw
from moderation_service.contracts.bank import BankMatch
from moderation_service.contracts.base import Contract, Digest, Identifier, Metadata, Moment
from moderation_service.contracts.enums import (
    AbstainReason,
    AttributionClass,
    DecidedBy,
    Decision,
    ExplanationKind,
    Flag,
    ImageFlag,
    ImageStatus,
    Modality,
    Outcome,
    Route,
    Trigger,
)
from moderation_service.contracts.statement import StatementOfReasons

LEAST_SCALE = 1 / 6
"""Of an image's width and height: what is read at less is flagged, since small print is lost."""

Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]
_MATCH_FIELDS = ("bank", "kind", "entry", "action", "policy", "severity", "route", "digest")
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Thresholds(Contract):
    """Scores at or over `review` go to a person, at or over `block` are blocked; without `block` none is."""

    review: Probability
    block: Probability | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.block is not None and self.block < self.review:
            msg = f"block {self.block:g} is under review {self.review:g}"
            raise ValueError(msg)
        return self


class Attribution(Contract):
    """Where the violation lies, by the scores of the modality passes; null for a modality the post does not have."""

    class_: Annotated[AttributionClass, Field(alias="class")]
    joint: Probability
    text_only: Probability | None
    image_only: Probability | None


class PolicyVerdict(Contract):
    """One policy's part of a verdict. `score` is calibrated, `raw_score` as the engine gave it."""

    policy_id: Identifier
    version: int
    digest: Digest
    outcome: Outcome
    violated: bool
    severity: Annotated[int, Field(ge=1, le=5)]
    score: Probability
    raw_score: Probability
    label_mass: Probability
    thresholds: Thresholds
    attribution: Attribution | None


MAX_IMAGE_TEXT = 500  # characters


class ImageContent(Contract):
    """One image as it was judged, or why it was not. Width and height in pixels, after EXIF orientation.

    `pixels_read`: as many as the model read of all its frames (tiles, or moments), or as were sent to a server.
    `downscaled`: it was read at less than a sixth of its width and height. `truncated`: its file lacks its end.
    `pdq` is the perceptual hash of its first frame (64 hex digits), `pdq_quality` from 0 to 100; `text_sha256` is of
    the words that were read in it. `text` is the beginning of these words without personal data, for reviewers: only
    where the post is not allowed.
    """

    sha256: str | None
    width: int | None
    height: int | None
    frames: int
    media_type: str | None
    status: ImageStatus
    pixels_read: Annotated[int, Field(ge=0)] | None = None
    flags: tuple[ImageFlag, ...] = ()
    pdq: str | None = None
    pdq_quality: Annotated[int, Field(ge=0, le=100)] | None = None
    text_sha256: str | None = None
    text: Annotated[str, Field(max_length=MAX_IMAGE_TEXT)] | None = None


class Content(Contract):
    """Digests of what was judged."""

    text_sha256: str | None
    language: str
    truncated: bool
    images: tuple[ImageContent, ...]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What was judged of the post."""
        has_image = any(image.status == ImageStatus.JUDGED for image in self.images)
        return (*(("text",) if self.text_sha256 else ()), *(("image",) if has_image else ()))


class Model(Contract):
    """Which model answered, and how it was asked."""

    name: str
    revision: str
    dtype: str
    quantization: str | None
    engine: str
    layout: str
    prompt_digest: str
    calibration_id: str | None


class ShadowModelVerdict(Contract):
    """What a second model says of the same policies; it decides nothing."""

    model: Model
    policies: tuple[PolicyVerdict, ...]


class Service(Contract):
    """Which process judged."""

    version: str
    instance: str


class Timings(Contract):
    """Milliseconds by step; `total` from the record's arrival in the process to the sealed verdict."""

    queue: Milliseconds
    fetch: Milliseconds
    decode: Milliseconds
    score: Milliseconds
    attribution: Milliseconds
    explain: Milliseconds
    total: Milliseconds


class Verdict(Contract):
    """The record on the output topic.

    `matches` are with enforced banks, `shadow_matches` with banks that decide nothing; `banks_digest` is of all
    enforced banks. `similar_to` names the verdict on a near copy. `audit` is null where no audits are drawn.
    `content.language` is the language that the post was judged in. `post_language` is the post's own tag,
    `detected_language` that of its words where it has none; null where they are too few to tell.
    """

    schema_version: Literal["1"] = "1"
    verdict_id: Identifier
    post_id: Identifier
    post_revision: int
    author_id: str | None
    surface: str | None
    metadata: SkipValidation[Metadata]  # the post's, checked there: a copy of millions of values takes seconds
    decision: Decision
    abstain_reason: AbstainReason | None
    flags: tuple[Flag, ...]
    duplicate_of: str | None
    policies: tuple[PolicyVerdict, ...]
    shadow: tuple[PolicyVerdict, ...]
    explanation: str | None
    explanation_kind: ExplanationKind | None = None
    content: Content
    model: Model
    policy_set_digest: Digest
    service: Service
    trace_id: str
    timings_ms: Timings
    judged_at: Moment
    statement_of_reasons: StatementOfReasons | None
    decided_by: DecidedBy = DecidedBy.MODEL
    route: Route | None = None
    matches: tuple[BankMatch, ...] = ()
    shadow_matches: tuple[BankMatch, ...] = ()
    banks_digest: Digest | None = None
    similar_to: str | None = None
    audit: AuditDraw | None = None
    trigger: Trigger = Trigger.POST
    shadow_model: ShadowModelVerdict | None = None
    post_language: str | None = None
    detected_language: str | None = None

    def to_json(self) -> bytes:
        """The record's value."""
        return self.model_dump_json(by_alias=True).encode()


def content_key(
    content: Content, surface: str | None, policy_set_digest: str, model: Model, matches: Sequence[BankMatch] = ()
) -> str:
    """The key of a content: the verdict's id without the post, so that posts of the same content share it."""
    return verdict_id(
        post_id="",
        revision=0,
        content=content,
        surface=surface,
        policy_set_digest=policy_set_digest,
        model=model,
        matches=matches,
    )


def verdict_id(  # noqa: PLR0913 - all that decides a verdict
    *,
    post_id: str,
    revision: int,
    content: Content,
    surface: str | None,
    policy_set_digest: str,
    model: Model,
    matches: Sequence[BankMatch] = (),
) -> str:
    """Name a verdict by all that decides it, so that judging again gives the same name. 32 hex digits.

    A function of the post's id and revision, the digests of its words (with the language that they are judged in)
    and images with each image's status, the surface, the policy set, the model (name, revision, dtype,
    quantization), the prompt digest, the calibration and the matches with enforced banks, if there are any, and of
    nothing else.
    """
    named: list[object] = [
        post_id,
        revision,
        content.text_sha256,
        content.language,
        [[image.sha256, image.status] for image in content.images],
        surface,
        policy_set_digest,
        [model.name, model.revision, model.dtype, model.quantization],
        model.prompt_digest,
        model.calibration_id,
    ]
    if matches:
        named.append(sorted(([getattr(match, field) for field in _MATCH_FIELDS] for match in matches), key=_compact))
    return hashlib.sha256(_compact(named).encode()).hexdigest()[:32]
