"""Links in a text, and the entries that cover them: domains with their subdomains, paths with what lies below."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import ip_address
from itertools import chain, islice
from posixpath import normpath
from socket import inet_aton
from typing import NamedTuple
from urllib.parse import unquote

import idna
from publicsuffixlist import PublicSuffixList

from moderation_service.character_folding import SPACELESS
from moderation_service.contracts.bank import Span
from moderation_service.text_folding import MAX_TEXT, ascii_forms, latin_twins

_SHORTENERS = {
    *("3.cn", "adf.ly", "bit.ly", "bl.ink", "buff.ly", "cutt.ly", "dlvr.it", "dwz.cn", "goo.gl", "goo.su", "is.gd"),
    *("j.mp", "lnkd.in", "ow.ly", "rb.gy", "rebrand.ly", "reurl.cc", "s.id", "shorte.st", "shorturl.at", "soo.gd"),
    *("surl.li", "t.cn", "t.co", "t.ly", "tiny.cc", "tinyurl.com", "u.to", "url.cn", "v.gd", "vk.cc", "zpr.io"),
}
_MAX_HOST = 253
_MOST_SPANS, _MOST_LINKS = 20, 1000
_MOST_PARTS = 64  # of a path
_PATH_END = re.compile("[/?&;]")
_DEFANGED = re.compile(
    r"(?P<dot>\s?[\[({<]\s?(?:\.|dot)\s?[\])}>]\s?|(?<=\w)(?:[\[({<\\]\.|\.[\])}>]|[·•‧]|\sdot\s|\s\.\s?)(?=\w)|[\u3002\uff61])"
    r"|%(?P<code>2[de]|3\d|[46][1-9a-f]|[57][\da])|[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]",  # RFC 3986: unreserved
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}", re.IGNORECASE)
_LINK = re.compile(
    r"""(?<![\w\-])(?:(?P<scheme>[a-z][a-z0-9+.\-]{1,15}+)(?::|\[:\])/{2,3})?
    (?:[^\s/?\#@<>"'()\[\]{}|\\^`]{0,128}@)?
    (?P<host>(?:[^\W_]|[\-_])++(?:\.(?:[^\W_]|[\-_])++)+(?:\.(?=[/:?\#]))?|\[[0-9a-f:.]{2,45}\]|(?:0x[0-9a-f]{8}|\d{8,10})(?![\w.@]))
    (?P<port>:\d{0,5})?
    (?P<rest>[/?\#][^\s<>"'`|\\^{}]*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_CLOSING = ".,;:!?)]}…。，！？"


class Link(NamedTuple):
    """A link as an entry is compared with it: ASCII host, path with its query. `registered` is the part one can buy."""

    host: str
    path: str
    registered: str


class UrlIndex:
    """Entries by host and path."""

    def __init__(self) -> None:
        self._slots = dict[tuple[str, str], tuple[int, ...]]()

    def add(self, entries: Mapping[int, Link]) -> None:
        """Add entries by slot."""
        for slot, link in entries.items():
            self._slots[link[:2]] = (*self._slots.get(link[:2], ()), slot)

    def search(self, links: Mapping[Link, list[Span]]) -> dict[int, tuple[Link, list[Span]]]:
        """By slot: a link that the entry covers, and where it and others stand in the text."""
        found = dict[int, tuple[Link, list[Span]]]()
        for link, spans in links.items():
            labels = link.host.split(".")
            ends = [end.start() for end in islice(_PATH_END.finditer(link.path), _MOST_PARTS)]
            paths = {link.path, "", *(link.path[:end] for end in ends)}
            for host in (".".join(labels[at:]) for at in range(len(labels))):
                for slot in chain.from_iterable(self._slots.get((host, path), ()) for path in paths):
                    _, places = found.setdefault(slot, (link, []))
                    places += spans[: _MOST_SPANS - len(places)]
        return found


def links_in(text: str) -> dict[Link, list[Span]]:
    """The links of a text and where they stand: also without a scheme, and as people defang them (hxxp, [.])."""
    text = text[:MAX_TEXT]
    plain, offsets = _refanged(text)
    found = dict[Link, list[Span]]()
    for match in islice(_LINK.finditer(plain), _MOST_LINKS):
        rest = (match["rest"] or "").rstrip(_CLOSING)
        end = match.start("rest") + len(rest) if rest else match.end("host")
        span = offsets[match.start()], offsets[end - 1] + 1
        hosts = [match["host"], *SPACELESS.sub(" ", match["host"]).split()]  # 请看example.com谢谢 is one too, unlikely
        hosts.append(".".join(map(latin_twins, match["host"].split("."))))
        links = {_link(host, rest, bare=not (match["scheme"] or match["port"])) for host in hosts}
        inner = islice(_LINK.finditer(unquote(rest)), _MOST_SPANS)  # where an archive or a redirect leads
        for link in links | {_link(one["host"], one["rest"] or "", bare=False) for one in inner if one["scheme"]}:
            if link:
                found.setdefault(link, []).append(span)
    return found


def parse_entry(value: str) -> Link:
    """An entry's domain and path. Raises ValueError for what is not a link, and for a suffix that many owners share."""
    match = _LINK.fullmatch(_refanged(value)[0])
    link = _link(match["host"], match["rest"] or "", bare=False) if match else None
    if link is None:
        msg = f"{value!r} is neither a domain nor a link"
        raise ValueError(msg)
    if not link.registered:
        msg = f"{link.host} is a public suffix: it would cover the sites of many owners"
        raise ValueError(msg)
    return link


def shortener(link: Link) -> str | None:
    """The link shortener, if it is a link of one that is known."""
    return next((host for host in (link.host, link.registered) if host in _SHORTENERS), None)


def _refanged(text: str) -> tuple[str, Sequence[int]]:
    """The text with its dots and without invisible characters, and the offset of each character."""
    parts, offsets, end = list[str](), list[int](), 0
    for found in _DEFANGED.finditer(text):
        plain = "." if found["dot"] else chr(int(found["code"] or "0", 16)).strip("\0")
        parts += text[end : found.start()], plain
        offsets += [*range(end, found.start()), *[found.start()] * len(plain)]
        end = found.end()
    plain = ascii_forms("".join([*parts, text[end:]]))
    return plain, [*offsets, *range(end, len(text))] if end else range(len(text))


def _link(host: str, rest: str, *, bare: bool) -> Link | None:
    """None where a word with a point in it is not a link."""
    if len(host) > _MAX_HOST:
        return None
    path = normpath("/" + unquote(rest.partition("#")[0]).lstrip("/")).rstrip("/")
    if host.startswith("[") or _NUMBER.fullmatch(host.rstrip(".")):
        try:
            number = ip_address(host.strip("[].") if bare or host.startswith("[") else inet_aton(host.rstrip(".")))
        except (ValueError, OSError):
            return None
        address = str(getattr(number, "ipv4_mapped", None) or number)
        return None if bare and not rest else Link(address, path, address)
    host = host.strip(".-_").lower()
    if "." not in host:
        return None
    try:
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except UnicodeError:
        return None
    known = _suffixes().publicsuffix(host, accept_unknown=False) or host.endswith(".onion")
    return Link(host, path, _suffixes().privatesuffix(host) or "") if known or not bare else None


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
