"""Request bodies: bounded in bytes and in time before they are in memory, then parsed into their model."""

import asyncio
import re
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from moderation_service.console.api.problems import Problem
from moderation_service.contracts.base import MAX_VALUES, has_too_many_values, is_invalid_json, validate_json
from moderation_service.contracts.post import ImageRef, is_data_url

WITHIN_S = 15.0
_OFF_LOOP_BYTES = 256 * 1024
_JSON = re.compile(r"application/([\w.+-]+\+)?json", re.IGNORECASE)
_FAULTS_SHOWN = 3
_WHITESPACE = " \t\r\n\f"
_Model = TypeVar("_Model", bound=BaseModel)


async def read(request: Request, limit: int) -> bytes:
    """The body, of `limit` bytes at most. Raises Problem: wrong_media_type, too_large, slow_body."""
    if not _JSON.fullmatch(request.headers.get("content-type", "").partition(";")[0].strip()):
        raise Problem("wrong_media_type", "Content-Type should be application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem("wrong_media_type", "there should be no Content-Encoding: a compressed body is not read")
    too_large = Problem("too_large", f"should be at most {limit} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(WITHIN_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        # closed, or whoever dribbles would keep the connection
        raise Problem("slow_body", f"should be here within {WITHIN_S:g} s", {"Connection": "close"}) from None
    return bytes(body)


async def parsed(model: type[_Model], body: bytes) -> _Model:
    """The body as a model. Raises Problem: not_json, wrong_fields."""
    try:
        if len(body) > _OFF_LOOP_BYTES:
            return await asyncio.to_thread(_validated, model, body)
        return _validated(model, body)
    except ValidationError as error:
        raise refused(error) from None


def _validated(model: type[_Model], body: bytes) -> _Model:
    if has_too_many_values(body):
        raise Problem("wrong_fields", f"body: should have at most {MAX_VALUES} values")
    return validate_json(model, body)


def refused(error: ValidationError) -> Problem:
    """What is wrong with each field; never what it holds."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    if is_invalid_json(error):
        return Problem("not_json", faults[0]["msg"])
    named = [f"{_field(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults]
    more = f" (and {len(named) - _FAULTS_SHOWN} more)" if len(named) > _FAULTS_SHOWN else ""
    return Problem("wrong_fields", "; ".join(named[:_FAULTS_SHOWN]) + more)


def _field(location: tuple[int | str, ...]) -> str:
    """The field's name, without the forms of a union, which stand in parentheses."""
    return ".".join(part for part in map(str, location) if not part.startswith("(")) or "body"


def check_sizes(images: Iterable[ImageRef], most: int) -> None:
    """Raise Problem too_large where an image in the body has more than `most` bytes."""
    for number, image in enumerate(images):
        if _size(image) > most:
            raise Problem("too_large", f"image {number}: should be at most {most} bytes")


def _size(image: ImageRef) -> int:
    """The bytes that base64 stands for; at least, where it is in a URL. Media counts exactly, when it decodes."""
    if image.url is not None and is_data_url(image.url):
        head, _, data = image.url.partition(",")
        if not head.rstrip().lower().endswith("base64"):
            return 0
    else:
        data = image.data or ""
    characters = len(data) - sum(map(data.count, _WHITESPACE)) - 2 * data.count("%")
    return characters * 3 // 4 - data[-4:].count("=")
