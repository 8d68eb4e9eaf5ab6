"""Renders templates in the reader's language and colours, which are cookies of their browser."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from moderation_service.console.accounts.guard import local
from moderation_service.console.context import context_of
from moderation_service.console.pages import words
from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AttributionClass, Decision, Mode

Theme = Literal["auto", "light", "dark"]

HERE = Path(__file__).parent
LANGUAGES: tuple[Language, ...] = get_args(Language)
THEMES: tuple[Theme, ...] = get_args(Theme)
_YEAR_S = 365 * 24 * 3600
_PREFERENCES: dict[str, tuple[str, ...]] = {"language": LANGUAGES, "theme": THEMES, "keys": ("on", "off")}
_CHINESE: dict[str, str] = json.loads((HERE / "translations" / "zh.json").read_text(encoding="utf-8"))


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
    """The template with what every page has, and `values`."""
    language = language_of(request)
    titles = {policy.id: policy.title.in_language(language) for policy in context_of(request).pack.policies}
    common = {
        "language": language,
        "theme": request.cookies.get("theme") if request.cookies.get("theme") in THEMES else "auto",
        "keys_on": request.cookies.get("keys") != "off",
        "session": getattr(request.state, "session", None),
        "here": request.url.path,
        "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "titles": titles,
        "now": datetime.now(UTC),
        "policy_title": lambda policy_id: titles.get(policy_id, policy_id),
    }
    return HTMLResponse(environment(language).get_template(template).render({**common, **values}), status)


def is_of_htmx(request: Request) -> bool:
    """Whether the page itself asks, for a part."""
    return request.headers.get("hx-request") == "true"


def language_of(request: Request) -> Language:
    """The language chosen; else the first of the browser's that we have; else English."""
    if (chosen := request.cookies.get("language")) in LANGUAGES:
        return "zh" if chosen == "zh" else "en"
    for wanted in request.headers.get("accept-language", "").split(","):
        primary = wanted.split(";")[0].strip().split("-")[0].lower()
        if primary in LANGUAGES:
            return "zh" if primary == "zh" else "en"
    return "en"


def translated(language: Language) -> Callable[[str], str]:
    """English words to the language's; each that a template has is there, which a test sees to."""
    return (lambda message: message) if language == "en" else (lambda message: _CHINESE.get(message, message))


async def choose_preferences(request: Request) -> Response:
    """Keep language, colours and keys in cookies of this browser, and go back."""
    response = RedirectResponse(local(request.query_params.get("next", "/")), status_code=303)
    options: dict[str, Any] = {
        "max_age": _YEAR_S,
        "samesite": "lax",
        "httponly": True,
        "secure": context_of(request).settings.console.secure_cookies,
    }
    for name, choices in _PREFERENCES.items():
        if (chosen := request.query_params.get(name)) in choices:
            response.set_cookie(name, chosen, **options)
    return response


@cache
def environment(language: Language) -> Environment:
    """The templates in a language."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    gettext = translated(language)

    def ngettext(one: str, many: str, count: int) -> str:
        return gettext(one) if language == "zh" or count == 1 else many

    made.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {"asset": _asset, "AttributionClass": AttributionClass, "Decision": Decision, "Mode": Mode}
    for name, told in words.TITLES.items():
        made.globals[name] = {word: gettext(title) for word, title in told.items()}
    made.globals["attribution_says"] = lambda found: words.attribution(found, gettext)
    made.filters["colour"] = lambda word: Decision(word).colour  # of a decision, an outcome or a review
    made.filters["legend"] = lambda shown: [(one.colour, gettext(words.decided_title(one))) for one in shown]
    made.filters["share"] = words.share
    made.filters["ms"] = words.milliseconds
    made.filters["moment"] = lambda moment: f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    made.filters["short"] = words.short
    return made


@cache
def _asset(name: str) -> str:
    """The address of a static file, which changes with it."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"
