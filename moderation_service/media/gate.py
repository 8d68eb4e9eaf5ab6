"""SSRF gate: where the service may connect, checked for each URL, each redirect, each answer of DNS and each socket.

The ranges of addresses are spelled out: what `ipaddress` calls global differs between Python versions, and takes in
multicast, clouds' metadata services and IPv6 forms that carry a private IPv4 address.
"""

import re
import socket
import unicodedata
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from yarl import URL

from moderation_service.contracts.enums import ImageStatus
from moderation_service.media.loaded_image import ImageFault
from moderation_service.settings import MediaSettings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host services, on an otherwise public address
        "169.254.0.0/16",  # link-local, and most metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)
_TRAILING_V4 = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
    )
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215; its owner chooses one of the lengths of RFC 6052
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # the interface identifier's upper half, RFC 5214
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_LOW_32 = 0xFFFFFFFF

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_AUTHORITY = re.compile(r"(?:[^/?#:]*+:)?//([^/?#]*+)")  # RFC 3986, appendix B
_MAX_NAME = 253  # characters, RFC 1035
_MAX_AUTHORITY = _MAX_NAME + len(":65535")


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
    return ImageFault(status=ImageStatus.REFUSED, why=f"{what} not allowed")


def is_allowed(
    address: Address, allowed_networks: Collection[Network], nat64_prefixes: Collection[IPv6Network] = ()
) -> bool:
    """Public, or in an allowed network. An address that carries another one needs both to be allowed."""
    if getattr(address, "scope_id", None) is not None:
        return False
    if not is_public(address) and not any(address in network for network in allowed_networks):
        return False
    if int(address) in (0, 1):  # `::` and `::1` are addresses of their own, not IPv4-compatible ones
        return True
    return all(is_allowed(carried, allowed_networks) for carried in embedded_v4(address, nat64_prefixes))


def is_public(address: Address) -> bool:
    """Whether anyone on the Internet reaches the same machine under this address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    if address.scope_id is not None or address not in _UNICAST_V6 or _is_isatap(address):
        return False
    return not any(address in network for network in _SPECIAL_V6)


def embedded_v4(address: Address, nat64_prefixes: Collection[IPv6Network] = ()) -> frozenset[IPv4Address]:
    """The IPv4 addresses a gateway may forward to: mapped, compatible, ISATAP, 6to4, Teredo and NAT64 addresses.

    Without a prefix that names its length, an address of the local-use NAT64 range is read at every length.
    """
    if isinstance(address, IPv4Address):
        return frozenset()
    number = int(address)
    found = {_nat64(address, prefix.prefixlen) for prefix in nat64_prefixes if address in prefix}
    if address in _LOCAL_NAT64 and not found:
        read = {_nat64(address, length) for length in (48, 56, 64, 96)}
        found |= {carried for carried in read if carried not in _THIS_NETWORK}  # which no router forwards to
    if _is_isatap(address) or any(address in network for network in _TRAILING_V4):
        found.add(IPv4Address(number & _LOW_32))
    if address in _SIX_TO_FOUR:
        found.add(IPv4Address(number >> 80 & _LOW_32))
    if address in _TEREDO:
        found.add(IPv4Address(~number & _LOW_32))
    return frozenset(found)


def _is_isatap(address: IPv6Address) -> bool:
    return int(address) >> 32 & _LOW_32 in _ISATAP


def _nat64(address: IPv6Address, length: int) -> IPv4Address:
    """The IPv4 address behind a prefix of `length` bits. Bits 64 to 71 are no part of it (RFC 6052, 2.2)."""
    octets = address.packed
    if length < 96:  # noqa: PLR2004 - of which the address is the rest
        octets = octets[:8] + octets[9:]
    return IPv4Address(octets[length // 8 : length // 8 + 4])
