"""Base of every contract, and how its JSON is read.

Producers' JSON is read leniently: a byte order mark is skipped, half of a surrogate pair becomes U+FFFD.
"""

import codecs
import json
import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

MAX_ID = 512

Identifier = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Moment = AwareDatetime
Metadata = dict[str, JsonValue]


MAX_VALUES = 50_000
"""Of a JSON text from outside: more than any post needs, and read in some 50 ms, in which nothing else runs."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_MOST_ESCAPES = 1_000_000  # in a value; with more of them it is not searched, which would take seconds
_Model = TypeVar("_Model", bound=BaseModel)
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF_A_PAIR = re.compile(rb"%(high)b(?!%(low)b)|(?<!%(high)b)%(low)b" % {b"high": _HIGH, b"low": _LOW})


class Contract(BaseModel):
    """Frozen and strict; fields of a later minor version are ignored, never an error."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", ser_json_inf_nan="null", validate_by_name=True, validate_by_alias=True
    )


def validate_json(model: type[_Model], value: bytes) -> _Model:
    """Read a model from JSON in UTF-8. Raises pydantic.ValidationError."""
    value = value.removeprefix(codecs.BOM_UTF8)
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        if is_invalid_json(error) and (mended := _without_half_pairs(value)) != value:
            return model.model_validate_json(mended)
        raise


def utc_moment(text: str) -> datetime:
    """A moment in ISO 8601, by UTC where it names no offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def fault_of(error: ValidationError) -> str:
    """Field and message of the first fault, without the value."""
    fault = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


def has_too_many_values(value: bytes) -> bool:
    """Whether a JSON text has over `MAX_VALUES` values, told by its punctuation before anything is made of it."""
    if _punctuation(value) <= MAX_VALUES:
        return False
    count = end = 0
    for string in _STRING.finditer(value):  # which may hold as much of it as they like
        count += 1 + _punctuation(value, end, string.start())
        end = string.end()
        if count > 2 * MAX_VALUES:  # a key and a value
            return True
    return count + _punctuation(value, end, len(value)) > 2 * MAX_VALUES


def _punctuation(value: bytes, begin: int = 0, end: int | None = None) -> int:
    return sum(value.count(mark, begin, end) for mark in (b",", b"[", b"{"))


def is_invalid_json(error: ValidationError) -> bool:
    """Whether it was refused as JSON, before any field was looked at."""
    return error.errors(include_input=False, include_url=False, include_context=False)[0]["type"] == "json_invalid"


def other_encoding(value: bytes) -> str | None:
    """The name of the encoding that JSON is in, such as UTF-16; None for UTF-8."""
    found = json.detect_encoding(value)
    return None if found.startswith("utf-8") else found.upper()


def _without_half_pairs(value: bytes) -> bytes:
    """Replace the escapes of lone surrogates. Escaped backslashes are set aside: one before `ud83d` escapes nothing."""
    if b"\0" in value or value.count(b"\\") > _MOST_ESCAPES:  # \0, in no JSON, stands for them below
        return value
    return _HALF_A_PAIR.sub(rb"\\ufffd", value.replace(rb"\\", b"\0\0")).replace(b"\0\0", rb"\\")
