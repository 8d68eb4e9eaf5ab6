"""Which IP addresses are public.

The ranges are spelled out: what `ipaddress` calls global differs between Python versions, and takes in multicast,
clouds' metadata services and IPv6 forms that carry a private IPv4 address.
"""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

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
        "64:ff9b:1::/48",  # local NAT64
    )
)
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_LOW_32 = 0xFFFFFFFF


def is_public(address: Address) -> bool:
    """Whether anyone on the Internet reaches the same machine under this address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    if address.scope_id is not None or address not in _UNICAST_V6:
        return False
    return not any(address in network for network in _SPECIAL_V6)


def embedded_v4(address: Address) -> IPv4Address | None:
    """The IPv4 address a gateway would forward to, for mapped, compatible, NAT64, 6to4 and Teredo addresses."""
    if isinstance(address, IPv4Address):
        return None
    number = int(address)
    if any(address in network for network in _TRAILING_V4):
        return IPv4Address(number & _LOW_32)
    if address in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & _LOW_32)
    if address in _TEREDO:
        return IPv4Address(~number & _LOW_32)
    return None


def is_allowed(address: Address, allowed_networks: Collection[Network]) -> bool:
    """Public, or in an allowed network. An address that carries another one needs both to be allowed."""
    if is_public(address):
        return True
    if getattr(address, "scope_id", None) is not None:
        return False
    if not any(address in network for network in allowed_networks):
        return False
    carried = embedded_v4(address)
    # `::` and `::1` are addresses of their own, not IPv4-compatible ones.
    return carried is None or int(address) in (0, 1) or is_allowed(carried, allowed_networks)
