"""Start-up checks of a remote server: reachable, serves the model, accepts the key; and its revision."""

from collections.abc import Awaitable
from typing import TypeVar

from moderation_service.engine.openai.client import GARBLED, RequestRefused
from moderation_service.engine.openai.responses import ModelCard, ModelList
from moderation_service.errors import Fatal, Misconfigured, Transient, Unavailable
from moderation_service.settings import EngineSettings

NAMED = 5
SAID = 200
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_REDIRECTS = range(300, 400)

Answered = TypeVar("Answered")


async def check_startup(settings: EngineSettings, asking: Awaitable[Answered]) -> Answered:
    """What was asked, at the start, when nothing that goes wrong may wait.

    Raises Misconfigured, Unavailable where the server is not there yet or can't answer now, and otherwise Fatal.
    """
    try:
        return await asking
    except RequestRefused as refused:
        status = refused.status
        if status in {_UNAUTHORISED, _FORBIDDEN}:
            msg = f"engine.api_key: the server {'refuses it' if settings.api_key else 'wants one'} (status {status})"
            raise Misconfigured(msg) from None
        if status == _NOT_FOUND or status in _REDIRECTS:
            msg = (
                f"engine.base_url {settings.base_url}: no OpenAI-compatible API is there (status {status});"
                " it should be the address that ends in /v1, without a redirect"
            )
            raise Misconfigured(msg) from None
        # Only our own words have been asked so far, so the server's may be repeated, unless they repeat our key.
        said = " ".join(refused.said.split())
        if settings.api_key:
            said = said.replace(settings.api_key.get_secret_value(), "[the key]")
        msg = f"engine.base_url {settings.base_url}: refused (status {status}): {said[:SAID]}"
        raise Fatal(msg) from None
    except Transient as error:
        msg = f"engine.base_url {settings.base_url}: {error}"
        if error.reason == GARBLED:
            msg += "; scoring needs chat completions with usage and logprobs"
            raise Fatal(msg) from None
        raise Unavailable(msg) from None


def find(settings: EngineSettings, models: ModelList) -> ModelCard:
    """The model that the settings name. Raises Misconfigured where the server does not have it."""
    for model in models.data:
        if model.id == settings.model:
            return model
    names = ", ".join(model.id for model in models.data[:NAMED]) or "none"
    msg = f"engine.model {settings.model}: the server at {settings.base_url} does not have it; it has {names}"
    raise Misconfigured(msg)


def revision(settings: EngineSettings, model: ModelCard) -> str:
    """What the server says, or else the settings. Raises Misconfigured where neither does, or they differ."""
    said, set_ = model.revision, settings.revision
    if said and set_ and said != set_:
        msg = f"engine.revision {set_}: the server says that its model is {said}"
        raise Misconfigured(msg)
    if found := said or set_:
        return found
    msg = (
        f"engine.revision: the server does not say which revision of {model.id} it has, and verdicts must name it;"
        " set it to the commit, or the digest, that the server was started with"
    )
    raise Misconfigured(msg)
