"""Where the service may connect: checked for each URL, each redirect, each answer of DNS and each socket."""

import re
import socket
import unicodedata
from ipaddress import ip_address
from typing import Any

from yarl import URL

from moderation_service.media.address import is_allowed
from moderation_service.media.loaded_image import ImageFault
from moderation_service.settings import MediaSettings

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_AUTHORITY = re.compile(r"(?:[^/?#:]*+:)?//([^/?#]*+)")  # RFC 3986, appendix B
_MAX_NAME = 253  # characters, RFC 1035
_MAX_AUTHORITY = _MAX_NAME + len(":65535")

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class AddressRefused(PermissionError):  # noqa: N818 - a rule at work, not a defect
    """No socket was made for this address."""


class Gate:
    """The rules of the settings; holds no state."""

    def __init__(self, settings: MediaSettings) -> None:
        self._schemes = settings.allowed_schemes & {"http", "https"}
        self._ports = settings.allowed_ports
        self._networks = settings.allowed_networks
        self._nat64_prefixes = settings.nat64_prefixes
        hosts = {_ascii(host.removeprefix("*.")): host.startswith("*.") for host in settings.allowed_hosts}
        self._hosts = frozenset(host for host, wild in hosts.items() if not wild)
        self._suffixes = tuple(f".{host}" for host, wild in hosts.items() if wild)

    def url(self, text: str) -> URL:
        """The URL, if its scheme, port and host may be dialled. Raises ImageFault `refused`.

        The host is judged in the form that will be dialled, so that no second parser can read it otherwise.
        """
        if _UNSAFE.search(text):
            raise _refused(what="characters that parsers read differently")
        authority = _bounded_authority(text)
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError:
            raise _refused(what="not a URL") from None
        if url.scheme not in self._schemes:
            raise _refused(what="scheme")
        if "@" in authority:
            raise _refused(what="user information")
        if port is None or port not in self._ports:
            raise _refused(what="port")
        if "[" in authority and ":" not in (host or ""):
            raise _refused(what="brackets round a name")
        self._check_host(host or "")
        return _as_written(text, url).with_fragment(None)

    def redirect(self, url: URL, location: str) -> URL:
        """The URL that a `Location` header leads to from `url`. Raises ImageFault `refused`."""
        if _CONTROL.search(location):
            raise _refused(what="characters that parsers read differently")
        _bounded_authority(location.lstrip())
        try:
            return self.url(str(url.join(URL(location))))
        except ValueError:
            raise _refused(what="not a URL") from None

    def allows(self, address: str) -> bool:
        """Whether this IP address, as DNS or the socket layer spells it, may be dialled."""
        try:
            return is_allowed(ip_address(address), self._networks, self._nat64_prefixes)
        except ValueError:
            return False

    def socket(self, info: AddressInfo) -> socket.socket:
        """A socket for an address about to be dialled. Raises AddressRefused before one is made."""
        family, kind, protocol, _, address = info
        if not self.allows(address[0]) or address[1] not in self._ports:
            msg = "the address is not allowed"
            raise AddressRefused(msg)
        return socket.socket(family, kind, protocol)

    def _check_host(self, host: str) -> None:
        try:
            ip_address(host)
        except ValueError:
            # Decimal, octal and hex spellings of addresses end in a number; no name of the public DNS does.
            if len(host) > _MAX_NAME or not _NAME.fullmatch(host) or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
                raise _refused(what="host name") from None
        else:
            if not self.allows(host):
                raise _refused(what="address")
        if (self._hosts or self._suffixes) and host not in self._hosts and not host.endswith(self._suffixes):
            raise _refused(what="host")


def _bounded_authority(text: str) -> str:
    """The authority of a URL, checked before any parser maps it by IDNA, which takes seconds for a long one.

    Raises ImageFault `refused` where no name of the DNS is as long, as written or as NFKC expands it.
    """
    found = _AUTHORITY.match(text)
    authority = found[1] if found else ""
    if len(authority) > _MAX_AUTHORITY or len(unicodedata.normalize("NFKC", authority)) > _MAX_AUTHORITY:
        raise _refused(what="host name")
    return authority


def _as_written(text: str, checked: URL) -> URL:
    """The same place, its path and query untouched: a signature may be over their spelling."""
    if not text.isascii():
        return checked
    written = URL(text, encoded=True)
    return written if written.origin() == checked.origin() else checked


def _ascii(host: str) -> str:
    return (URL.build(scheme="https", host=host.rstrip(".")).raw_host or host).lower()


def _refused(what: str) -> ImageFault:
    return ImageFault(status="refused", why=f"{what} not allowed")
