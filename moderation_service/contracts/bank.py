"""Banks of known content: a bank's properties, its entries, and a match."""

import hashlib
import re
from typing import Annotated, Any, Literal, Self, assert_never

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from moderation_service.contracts.base import Contract, Digest, Identifier, Moment
from moderation_service.contracts.enums import ClosedSet, Decision, Mode, Route

EntryKind = Literal["image_sha256", "image_pdq", "terms", "urls"]
BANK_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
BankName = Annotated[str, Field(pattern=BANK_NAME)]
Note = Annotated[str, Field(max_length=1000)]
Span = tuple[int, int]

MAX_PDQ_DISTANCE = 31
"""Of 256 bits. PDQ's authors recommend it, and the index finds every entry that near."""
MIN_PDQ_QUALITY = 50
"""Of 100, unless a bank says otherwise: images of less detail share their hashes with many others."""
MAX_VALUE = 2000
_HEX_256 = re.compile(r"[0-9a-f]{64}")


class BankAction(ClosedSet):
    """What follows from a match."""

    BLOCK = "block"
    REVIEW = "review"
    ESCALATE = "escalate"
    LABEL = "label"
    ALLOW = "allow"

    @property
    def decision(self) -> Decision | None:
        """What a match decides on its post; None where it decides nothing by itself."""
        match self:
            case BankAction.ESCALATE | BankAction.BLOCK:
                return Decision.BLOCK
            case BankAction.REVIEW:
                return Decision.REVIEW
            case BankAction.LABEL | BankAction.ALLOW:
                return None
        assert_never(self)


class Bank(Contract):
    """What follows from a match with any entry of the bank. `policy`: the policy that its entries violate."""

    schema_version: Literal["1"] = "1"
    name: BankName
    action: BankAction
    policy: Identifier | None = None
    severity: Annotated[int, Field(ge=1, le=5)] = 3
    expires_at: Moment | None = None
    source: Note | None = None
    mode: Mode = Mode.ENFORCE
    route: Route | None = None
    pdq_threshold: Annotated[int, Field(ge=0, le=MAX_PDQ_DISTANCE)] = MAX_PDQ_DISTANCE
    pdq_min_quality: Annotated[int, Field(ge=0, le=100)] = MIN_PDQ_QUALITY

    @model_validator(mode="after")
    def _routed_decides(self) -> Self:
        """A shadow bank decides nothing, so what it knows would be sent to any engine."""
        if self.route and (self.action is BankAction.ALLOW or self.mode is Mode.SHADOW):
            what = "mode shadow" if self.mode is Mode.SHADOW else "action allow"
            msg = f"{what} cannot go with route {self.route}"
            raise ValueError(msg)
        return self


def _default_id(fields: dict[str, Any]) -> str:
    return hashlib.sha256(f"{fields['kind']}\0{fields['value']}".encode()).hexdigest()[:16]


class BankEntry(Contract):
    """One piece of known content. Without an `id`, it follows from kind and value."""

    schema_version: Literal["1"] = "1"
    kind: EntryKind
    value: Annotated[str, Field(min_length=1, max_length=MAX_VALUE)]
    id: Identifier = Field(default_factory=_default_id)
    expires_at: Moment | None = None
    source: Note | None = None
    note: Note | None = None

    @field_validator("value")
    @classmethod
    def _as_its_kind_is_written(cls, value: str, info: ValidationInfo) -> str:
        value = value.strip()
        if info.data.get("kind") in {"image_sha256", "image_pdq"}:
            value = value.lower()
            if not _HEX_256.fullmatch(value):
                msg = "should be 64 hexadecimal digits"
                raise ValueError(msg)
        return value


def first_fault(error: ValidationError) -> ErrorDetails:
    """What is wrong with a bank or an entry. That an id can't follow from what is missing or wrong is not told."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return next(fault for fault in faults if fault["type"] != "default_factory_not_called")


class BankMatch(Contract):
    """A match of a post with a bank's entry. `digest` is the bank's.

    `distance` is PDQ's, in bits; `image` counts the post's images from 0; `spans` are where it stands in the text, in
    characters (with `image`: in the words that OCR read in it); `shortener` is the link shortener that hides where the
    link leads.
    """

    bank: BankName
    kind: EntryKind
    entry: Identifier
    action: BankAction
    policy: Identifier | None
    severity: Annotated[int, Field(ge=1, le=5)]
    route: Route | None
    digest: Digest
    distance: Annotated[int, Field(ge=0, le=256)] | None = None
    image: Annotated[int, Field(ge=0)] | None = None
    spans: tuple[Span, ...] = ()
    shortener: str | None = None
