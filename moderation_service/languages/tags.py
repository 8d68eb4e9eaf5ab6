"""Language tags (BCP 47): canonical form, and lookup (RFC 4647, 3.4) by likely scripts (UTS 35)."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from babel.core import get_global

UNTOLD = frozenset({"und", "mul", "zxx", "mis"})
"""Tags that name no language."""

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(-(?P<script>[a-z]{4}))?(-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)",
    re.IGNORECASE,
)
_START = re.compile(_TAG.pattern + "(?![^-])", re.IGNORECASE)  # what is before extensions, private and unknown subtags
_ISO_15924 = 4  # letters of a script
_MACRO = {**dict.fromkeys(("yue", "wuu", "hak", "nan", "gan", "hsn", "cdo"), "zh"), "nb": "no", "nn": "no"}


class _Parts(NamedTuple):
    language: str
    script: str | None
    region: str | None
    variants: str


def canonical_tag(tag: str) -> str:
    """The tag in canonical form, as `de`, `zh-Hant` or `pt-BR`. Raises ValueError where it is none.

    Extensions and private tags are none: no policy is written in them.
    """
    language, script, region, variants = _parsed(tag)
    return "-".join(filter(None, (language, script, region))) + variants


def primary_language(tag: str) -> str:
    """The language without script and region; that of a Chinese or a Norwegian language is `zh` or `no`."""
    language = _parsed(tag).language
    return _MACRO.get(language, language)


def names_language(tag: str) -> bool:
    """Whether a tag begins with a language that CLDR has: `cn` and `jp` are countries, and `und` is none."""
    start = _START.match(tag)
    return (
        start is not None
        and (language := _parsed(start[0]).language) in get_global("likely_subtags")
        and language not in UNTOLD
    )


def nearest_tag(wanted: str | None, available: Iterable[str]) -> str | None:
    """The available tag to use for a wanted one, None where none is of its language.

    From the most exact: the same tag, its parents (`de-AT`, `de`), the same script, the same language. A tag without
    a script has its likely one: `zh-TW` is `zh-Hant-TW`, and `zh` is `zh-Hans`. Extensions and private subtags do not
    count. What is wanted and is no tag has none.
    """
    if wanted is None or (start := _START.match(wanted)) is None:
        return None
    own, script = _with_script(start[0]), _parsed(start[0]).script
    there = {tag: _with_script(tag) for tag in available}
    steps = (
        own,
        own._replace(variants=""),
        own._replace(variants="", region=None),
    )
    for step in steps:
        if found := [tag for tag, parts in there.items() if parts == step]:
            return max(found, key=lambda tag: _parsed(tag).script == script)  # of `zh` and `zh-Hans`
    alike = [tag for tag, parts in there.items() if parts.language == own.language]
    return next((tag for tag in alike if there[tag].script == own.script), next(iter(alike), None))


def _parsed(tag: str) -> _Parts:
    if (match := _TAG.fullmatch(tag)) is None:
        msg = "is no language tag; should be one of BCP 47, as en, de or zh-Hant"
        raise ValueError(msg)
    language, script, region = match["language"].lower(), match["script"], match["region"]
    # An alias may name a script or a region too, as `sr_Latn` for `sh` and `fa_AF` for `prs`.
    language, _, of_alias = get_global("language_aliases").get(language, language).partition("_")
    is_script = len(of_alias) == _ISO_15924
    script = (script or (of_alias if is_script else "")).capitalize() or None
    region = (region or ("" if is_script else of_alias)).upper() or None
    return _Parts(language, script, region, match["variants"].lower())


@lru_cache(maxsize=1024)
def _with_script(tag: str) -> _Parts:
    """The parts with the likely script, and the language of `primary_language`."""
    parts = _parsed(tag)
    likely = get_global("likely_subtags")
    script = parts.script
    if script is None:
        of_region = parts.region and likely.get(f"{parts.language}_{parts.region}")
        whole = of_region or likely.get(parts.language) or ""
        script = next((part for part in whole.split("_")[1:] if len(part) == _ISO_15924), None)
    return parts._replace(language=_MACRO.get(parts.language, parts.language), script=script)
