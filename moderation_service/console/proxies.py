"""Trusted proxies: whose word is taken for a caller's address and scheme (`X-Forwarded-For`, `X-Forwarded-Proto`)."""

import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from moderation_service.settings import IPAddress, IPNetwork

_MOST = 16  # addresses of the header, from its end
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::\d{1,5})?|([0-9.]{7,15}):\d{1,5}")


class TrustedProxies:
    """Middleware: `request.client` is the last address that no trusted proxy has, and always an IP address.

    Each proxy adds the address that it saw at the end, so what a caller wrote there themselves stands before it.
    """

    def __init__(self, app: ASGIApp, proxies: Collection[IPNetwork]) -> None:
        """`app` is what answers. Without `proxies` the headers are not looked at."""
        self.app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http" and scope.get("client"):
            headers, (host, port) = Headers(scope=scope), scope["client"]
            peer = address_of(host)
            if peer is not None and self._trusts(peer):
                seen = ",".join(headers.getlist("x-forwarded-for"))
                scope["client"] = (str(self._caller(peer, seen)), port)
                if (scheme := headers.get("x-forwarded-proto", "").strip().lower()) in {"http", "https"}:
                    scope["scheme"] = scheme
        await self.app(scope, receive, send)

    def _caller(self, peer: IPAddress, seen: str) -> IPAddress:
        for written in reversed(seen.rsplit(",", _MOST)[-_MOST:]):
            address = address_of(written.strip())
            if address is None:  # what stands before it is not to be believed either
                return peer
            peer = address
            if not self._trusts(peer):
                break
        return peer

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._proxies)


def address_of(written: str) -> IPAddress | None:
    """The IP address, also with a port behind it; None if it is none."""
    if found := _WITH_PORT.fullmatch(written):
        written = found[1] or found[2]
    if len(written) > 45:  # noqa: PLR2004 - an IPv6 address that ends in an IPv4 one, the longest
        return None
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return None if "%" in written else address
