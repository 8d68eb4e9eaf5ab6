"""A post: what a platform asks us to judge."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from moderation_service.contracts.base import (
    MAX_VALUES,
    Contract,
    Identifier,
    Metadata,
    Moment,
    has_too_many_values,
    is_invalid_json,
    other_encoding,
    validate_json,
)
from moderation_service.contracts.registry_frame import unframed
from moderation_service.errors import Poison

MAX_IMAGES = 1000  # of a record; how many of them are judged is a setting
MAX_LANGUAGE = 64
_FAULTS_SHOWN = 3
_MAX_URL = 8192  # characters


_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_EMPTY_IS_NONE = BeforeValidator(lambda hint: None if hint == "" else hint)


def _language(tag: object) -> object:
    """A language tag, with `_` read as `-`; a hint that is none is no reason to refuse a post, and dropped."""
    if not isinstance(tag, str) or len(tag) > MAX_LANGUAGE:
        return tag
    tag = tag.replace("_", "-")
    return tag if _LANGUAGE.fullmatch(tag) else None


def _images(images: object) -> object:
    """Counted before any is looked at: a million wrong ones would take seconds to say what is wrong with each."""
    if isinstance(images, list | tuple) and len(images) > MAX_IMAGES:
        msg = f"{len(images)} images, of which a post may have {MAX_IMAGES}"
        raise ValueError(msg)
    return () if images is None else images


def is_data_url(url: str) -> bool:
    """Whether a browser would read it as a `data:` URL."""
    return url.lstrip()[:5].lower() == "data:"


def _bounded_url(url: str) -> str:
    """A `data:` URL is as long as the record allows."""
    if len(url) > _MAX_URL and not is_data_url(url):
        msg = f"a URL should have at most {_MAX_URL} characters, a data: URL excepted"
        raise ValueError(msg)
    return url


class ImageRef(Contract):
    """Where an image is: exactly one of `url`, `data` (base64, with or without `media_type`) and `object`."""

    url: (
        Annotated[
            str,
            Field(
                min_length=1,
                json_schema_extra={"anyOf": [{"maxLength": _MAX_URL}, {"pattern": r"^\s*[Dd][Aa][Tt][Aa]:"}]},
            ),
            AfterValidator(_bounded_url),
        ]
        | None
    ) = None
    data: Annotated[str, Field(min_length=1)] | None = None
    object: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    media_type: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(source is not None for source in (self.url, self.data, self.object)) != 1:
            msg = "exactly one of url, data and object is required"
            raise ValueError(msg)
        return self


class Post(Contract):
    """Only `post_id` and one of `text` and `images` are required; null is the same as absent."""

    schema_version: Literal["1"] = "1"
    post_id: Identifier
    revision: Annotated[int, Field(ge=0, lt=2**63)] = 1
    created_at: Moment | None = None
    author_id: Annotated[Identifier | None, _EMPTY_IS_NONE] = None
    language: Annotated[str | None, Field(max_length=MAX_LANGUAGE), BeforeValidator(_language)] = None
    surface: Annotated[str | None, Field(max_length=64), _EMPTY_IS_NONE] = None
    text: Annotated[str, BeforeValidator(lambda text: "" if text is None else text)] = ""
    images: Annotated[
        tuple[ImageRef, ...],
        Field(max_length=MAX_IMAGES, strict=False),
        BeforeValidator(_images),
    ] = ()
    metadata: Annotated[Metadata, BeforeValidator(lambda free: {} if free is None else free)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not self.text and not self.images:
            msg = "one of text and images is required"
            raise ValueError(msg)
        return self


def read_post(value: bytes) -> Post:
    """Read a record's value, in a schema registry's frame or without. Raises Poison naming each wrong field.

    The message never quotes what the post holds.
    """
    value = unframed(value)
    if has_too_many_values(value):
        raise Poison("wrong_schema", f"the post has more than {MAX_VALUES} values; send fewer images or less metadata")
    try:
        return validate_json(Post, value)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        if is_invalid_json(error):
            encoding = other_encoding(value)
            why = f"it is in {encoding}; send UTF-8" if encoding else faults[0]["msg"]
            raise Poison("not_json", f"the value is not JSON: {why}") from None
        named = [f"{'.'.join(map(str, fault['loc'])) or 'post'}: {_said(fault)}" for fault in faults]
        more = f" (and {len(named) - _FAULTS_SHOWN} more)" if len(named) > _FAULTS_SHOWN else ""
        raise Poison("wrong_schema", "; ".join(named[:_FAULTS_SHOWN]) + more) from None


def _said(fault: ErrorDetails) -> str:
    return fault["msg"].removeprefix("Value error, ")
