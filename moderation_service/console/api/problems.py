"""What is refused, as problem JSON (RFC 9457): a bounded word, its status, and what would be right."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_PREFIX = "urn:moderation:problem:"


class _Kind(NamedTuple):
    status: int
    title: str


KINDS = {
    "not_json": _Kind(400, "The body is not JSON"),
    "no_key": _Kind(401, "There is no valid API key"),
    "wrong_scope": _Kind(403, "The API key is not for this"),
    "not_found": _Kind(404, "There is no such thing"),
    "wrong_method": _Kind(405, "This can't be done here"),
    "slow_body": _Kind(408, "The body took too long"),
    "taken": _Kind(409, "The verdict is not this caller's to review"),
    "gone": _Kind(410, "The verdict was erased"),
    "too_large": _Kind(413, "The body is too large"),
    "wrong_media_type": _Kind(415, "The body is of a type that is not read"),
    "wrong_fields": _Kind(422, "The request is not as it should be"),
    "key_used": _Kind(422, "The Idempotency-Key stands for another request"),
    "not_covered": _Kind(422, "No policy covers a category that is required"),
    "not_judgeable": _Kind(422, "The post can't be judged"),
    "too_many": _Kind(429, "Too many requests"),
    "internal": _Kind(500, "Something is broken here"),
    "full": _Kind(503, "Too much is being judged"),
    "judging_off": _Kind(503, "This console judges nothing"),
    "unavailable": _Kind(503, "A part that is needed does not answer"),
}


class Problem(Exception):  # noqa: N818 - the standard's word
    """The request is refused. `detail` tells the caller what would be right; it is not logged."""

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind)
        self.kind, self.detail, self.headers = kind, detail, dict(headers or {})
        self.status, self.title = KINDS[kind]

    def response(self, request_id: str, trace_id: str) -> Response:
        """The answer."""
        told = ProblemDetails(
            type=_PREFIX + self.kind,
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.kind,
            message=self.detail,
            request_id=request_id,
            trace_id=trace_id,
        )
        body = json.dumps(told.model_dump()).encode()  # ASCII: a detail may name what is no text
        return Response(body, self.status, self.headers, MEDIA_TYPE)


class ProblemDetails(BaseModel):
    """Why a request was refused. `code` and `message` are where OpenAI's clients look for the same."""

    type: str = Field(description=f"`{_PREFIX}` and one of: {', '.join(KINDS)}")
    title: str
    status: int
    detail: str
    code: str
    message: str
    request_id: str
    trace_id: str
