"""A dead letter: a record that can never be judged, with its own bytes and the reason in its headers.

Header names follow Kafka Connect's (`errors.*`) under a prefix of our own.
"""

import base64
import hashlib
from typing import Annotated, Literal, Self

from pydantic import Base64Bytes, Field

from moderation_service.contracts.base import Contract, Moment
from moderation_service.contracts.envelope import Headers

PREFIX = "dlq.errors."
HEAD_BYTES = 64 * 1024
_MESSAGE_CHARS = 1000


class DeadLetter(Contract):
    """Where the record came from and why it was refused; each field is one header."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    consumer_group: str
    stage: str
    reason: str
    attempts: Annotated[int, Field(ge=1)] = 1
    exception_class_name: str
    exception_message: str
    failed_at: Moment
    service_version: str
    by_reference: bool = False

    def headers(self) -> Headers:
        """`dlq.errors.*`, UTF-8."""
        fields = self.model_dump(mode="json")
        fields["exception_message"] = fields["exception_message"][:_MESSAGE_CHARS]
        return [(_header(name), _text(value).encode()) for name, value in fields.items()]

    @classmethod
    def from_headers(cls, headers: Headers) -> Self:
        """Read it back. Raises pydantic.ValidationError where a header is missing or wrong."""
        found = {name: value.decode() for name, value in headers if name.startswith(PREFIX)}
        fields = {name: found[_header(name)] for name in cls.model_fields if _header(name) in found}
        return cls.model_validate_strings(fields)


class DeadLetterReference(Contract):
    """The value of a dead letter whose record is too large to be sent again: where it is, and its beginning.

    `sha256`, and `size` too, are null where the record was not read whole: it inflates too far.
    """

    schema_version: Literal["1"] = "1"
    topic: str
    partition: int
    offset: int
    size: int | None
    sha256: str | None
    head: Base64Bytes

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, value: bytes) -> Self:
        """Refer to a record by its place, with its size and digest and the first 64 KiB."""
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            size=len(value),
            sha256=hashlib.sha256(value).hexdigest(),
            head=base64.b64encode(value[:HEAD_BYTES]),
        )

    def to_json(self) -> bytes:
        """The record's value."""
        return self.model_dump_json().encode()


def _header(field: str) -> str:
    return PREFIX + field.replace("_", ".")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
