"""Renders templates in the reader's language and colours, which are cookies of their browser."""

import hashlib
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from moderation_service.console.accounts.guard import local
from moderation_service.console.catalogues import Catalogue, MsgId, negotiate
from moderation_service.console.context import context_of
from moderation_service.console.pages import numbers, words
from moderation_service.contracts.enums import AttributionClass, Decision, Mode

Theme = Literal["auto", "light", "dark"]

HERE = Path(__file__).parent
THEMES: tuple[Theme, ...] = get_args(Theme)
NOTHING_CHANGED = MsgId("Nothing was changed.")
_YEAR_S = 365 * 24 * 3600


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
    """The template with what every page has, and `values`."""
    context, language = context_of(request), language_of(request)
    policy_language = context.pack.language_for(language.tag)
    titles = {policy.id: policy.title.in_language(policy_language) for policy in context.pack.policies}
    common = {
        "language": language,
        "languages": context.catalogues.values(),
        "theme": request.cookies.get("theme") if request.cookies.get("theme") in THEMES else "auto",
        "keys_on": request.cookies.get("keys") != "off",
        "session": getattr(request.state, "session", None),
        "here": request.url.path,
        "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "policy_language": policy_language,
        "titles": titles,
        "now": datetime.now(UTC),
        "policy_title": lambda policy_id: titles.get(policy_id, policy_id),
    }
    return HTMLResponse(environment(language).get_template(template).render({**common, **values}), status)


def is_of_htmx(request: Request) -> bool:
    """Whether the page itself asks, for a part."""
    return request.headers.get("hx-request") == "true"


def language_of(request: Request) -> Catalogue:
    """The language chosen, else the best that the browser asks for."""
    catalogues = context_of(request).catalogues
    chosen = catalogues.get(request.cookies.get("language", ""))
    return chosen or negotiate(catalogues, request.headers.get("accept-language", ""))


def translated(request: Request, message: MsgId) -> str:
    """The message in the reader's language."""
    return language_of(request).gettext(message)


async def choose_preferences(request: Request) -> Response:
    """Keep language, colours and keys in cookies of this browser, and go back."""
    response = RedirectResponse(local(request.query_params.get("next", "/")), status_code=303)
    context = context_of(request)
    options: dict[str, Any] = {
        "max_age": _YEAR_S,
        "samesite": "lax",
        "httponly": True,
        "secure": context.settings.console.secure_cookies,
    }
    for name, choices in {"language": context.catalogues, "theme": THEMES, "keys": ("on", "off")}.items():
        if (chosen := request.query_params.get(name, "")) in choices:
            response.set_cookie(name, chosen, **options)
    return response


@cache
def environment(language: Catalogue) -> Environment:
    """The templates in a language."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {"asset": _asset, "AttributionClass": AttributionClass, "Decision": Decision, "Mode": Mode}
    for name, told in words.TITLES.items():
        made.globals[name] = {word: language.gettext(title) for word, title in told.items()}
    made.globals["attribution_says"] = lambda found: words.attribution(found, language)
    made.filters["colour"] = lambda word: Decision(word).colour  # of a decision, an outcome or a review
    made.filters["legend"] = lambda shown: [(one.colour, language.gettext(words.decided_title(one))) for one in shown]
    for written in (numbers.number, numbers.score, numbers.share, numbers.change, numbers.milliseconds):
        made.filters[written.__name__] = partial(written, locale=language.locale)
    made.filters["moment"] = lambda moment: f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    made.filters["short"] = words.short
    made.filters["language_name"] = language.language_name
    return made


@cache
def _asset(name: str) -> str:
    """The address of a static file, which changes with it."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"
