"""Try it: words and an image to a verdict, through the same judge. Nothing of them is kept."""

import asyncio
import base64
import secrets

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console import judging
from moderation_service.console.accounts.guard import length_of
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import context_of
from moderation_service.console.pages.case import ReviewCase, found_in
from moderation_service.console.pages.render import page, translated
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.errors import Poison, Transient
from moderation_service.settings import MIB

_WORDS = 20_000  # characters
_FIELDS = 256 * 1024  # bytes of a form beside its image
_SENT_S = 30.0

_NOTHING = MsgId("Type some words, or drop a picture.")
_LARGE = MsgId("That is too large to judge.")
_WHY_NOT: dict[type[Exception], MsgId] = {
    judging.Full: MsgId("The judge is busy. Try again in a moment."),
    Transient: MsgId("The judge does not answer. Try again in a moment."),
    TimeoutError: MsgId("That took too long. Try again in a moment."),
    Poison: MsgId("That can't be judged."),
}


async def show(request: Request) -> Response:
    """The form."""
    return _page(request)


async def judge(request: Request) -> Response:
    """The form with its verdict."""
    context = context_of(request)
    most = context.settings.media.max_bytes
    length, multipart = length_of(request), request.headers.get("content-type", "").startswith("multipart/form-data")
    if length is None or length > _FIELDS + most * multipart:
        return _page(request, wrong=_LARGE, status=413)
    async with asyncio.timeout(_SENT_S), request.form(max_files=1, max_fields=8, max_part_size=_FIELDS) as form:
        image, words = form.get("picture"), str(form.get("text", ""))[:_WORDS]
        data = await image.read() if isinstance(image, UploadFile) else b""
    if not data and not words.strip():
        return _page(request, words, wrong=_NOTHING, status=422)
    images = (ImageRef(data=base64.b64encode(data).decode()),) if data else ()
    post = Post(post_id=f"try-{secrets.token_hex(8)}", text=words, images=images)
    try:
        verdict = await judging.judged(context, post, trace_id=request.state.trace.trace_id)
    except judging.JudgingOff:
        return _page(request, words)
    except (judging.Full, TimeoutError, Transient, Poison) as error:
        return _page(request, words, wrong=_WHY_NOT[type(error)], status=422)
    words = "" if verdict.route else words  # what must not be kept is not shown again
    return _page(request, words, case=found_in(verdict, context.pack))


def _page(
    request: Request,
    words: str = "",
    *,
    wrong: MsgId | None = None,
    status: int = 200,
    case: ReviewCase | None = None,
) -> Response:
    context = context_of(request)
    return page(
        request,
        "try.html",
        status=status,
        off=not context.judges,
        most_mib=context.settings.media.max_bytes // MIB,
        text=words,
        wrong=translated(request, wrong) if wrong else None,
        case=case,
    )
