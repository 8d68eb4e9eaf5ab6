"""`DELETE /v1/posts/{post_id}`: a post is erased, here and wherever the topics are read."""

from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.console.store import deleted
from moderation_service.contracts.base import MAX_ID


async def delete(call: Call) -> Response:
    """Delete a post with its verdicts, jobs and reviews. A post that is not known is deleted too.

    A null of its key goes to the input topic and to the output topic.
    """
    post_id = _post_id(call.request)
    async with call.parts.database.begin() as connection:
        await deleted.put(connection, call.parts.settings.kafka, post_id, call.trace, actor=f"key:{call.key.name}")
    call.parts.put_in_outbox.set()
    return Response(status_code=204)


def _post_id(request: Request) -> str:
    """The path's id. Raises Problem wrong_fields."""
    post_id: str = request.path_params["post_id"]
    raw: bytes = request.scope["raw_path"]
    if b"/" in raw.partition(b"/v1/posts/")[2]:  # on its way a client or a proxy may make another path of it
        raise Problem("wrong_fields", "post_id should have %2F for each /")
    try:
        unquote_to_bytes(raw).decode()  # in the decoded path U+FFFD stands for what is no UTF-8
    except UnicodeDecodeError:
        raise Problem("wrong_fields", "post_id should be UTF-8, percent-encoded") from None
    if not 0 < len(post_id) <= MAX_ID:
        raise Problem("wrong_fields", f"post_id should have 1 to {MAX_ID} characters")
    return post_id
