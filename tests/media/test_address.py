from ipaddress import IPv6Network, ip_address, ip_network

import pytest

from moderation_service.media.gate import embedded_v4, is_allowed, is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
    "168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1",
    "2001:200::1", "2400:cb00::1",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.1.2.3", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::a9fe:a9fe", "::808:808", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
    "::ffff:0:7f00:1", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:a00:1::",
    "2002:808:808::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "2606:4700::5efe:a9fe:a9fe", "2606:4700::200:5efe:a00:1", "2606:4700::5efe:808:808",
    "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_with_a_local_or_special_meaning_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not is_allowed(ip_address(address), ())


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("::ffff:0:a01:203", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1::10.1.2.3", "10.1.2.3"),
        ("2002:a01:203::", "10.1.2.3"),
        ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", "10.1.2.3"),
    ],
)
def test_the_address_that_a_gateway_would_forward_to_is_found(address: str, carried: str) -> None:
    assert embedded_v4(ip_address(address)) == {ip_address(carried)}


@pytest.mark.parametrize(
    ("prefix", "address"),
    [  # 192.0.2.33, as RFC 6052 writes it in 2.4
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_an_own_nat64_prefix_is_read_at_its_length(prefix: str, address: str) -> None:
    assert embedded_v4(ip_address(address), [IPv6Network(prefix)]) == {ip_address("192.0.2.33")}
    assert embedded_v4(ip_address(address)) == frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "64:ff9b:1::a9fe:a9fe",
    ],
)
def test_the_local_nat64_range_is_read_at_every_length(address: str) -> None:
    local = ip_network("64:ff9b:1::/48")
    assert ip_address("169.254.169.254") in embedded_v4(ip_address(address))
    assert not is_allowed(ip_address(address), [local])


def test_a_prefix_within_the_local_nat64_range_is_read_at_its_length_alone() -> None:
    prefix, local = IPv6Network("64:ff9b:1:a9fe::/64"), ip_network("64:ff9b:1::/48")
    public = ip_address("64:ff9b:1:a9fe:8:808:800:0")  # 8.8.8.8
    assert is_allowed(public, [local], [prefix])
    assert not is_allowed(ip_address("64:ff9b:1:a9fe:a:0:100:0"), [local], [prefix])


def test_a_public_nat64_prefix_of_ones_own_opens_no_private_address() -> None:
    prefixes = [IPv6Network("2606:4700:64::/96")]
    assert is_allowed(ip_address("2606:4700:64::8.8.8.8"), (), prefixes)
    assert not is_allowed(ip_address("2606:4700:64::10.0.0.1"), (), prefixes)
    assert is_allowed(ip_address("2606:4700:64::10.0.0.1"), [ip_network("10.0.0.0/8")], prefixes)


@pytest.mark.parametrize("address", ["10.1.2.3", "2606:4700::1", "fd00::1"])
def test_a_plain_address_carries_no_other(address: str) -> None:
    assert embedded_v4(ip_address(address)) == frozenset()


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("10.2.2.3", ["10.1.0.0/16"], False),
        ("::1", ["::1/128"], True),
        ("fd00::5", ["fd00::/8"], True),
        ("fe80::1%eth0", ["fe80::/10"], False),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], False),
        ("::ffff:10.1.2.3", ["::ffff:0:0/96"], False),
        ("::ffff:10.1.2.3", ["::ffff:0:0/96", "10.1.0.0/16"], True),
        ("64:ff9b::808:808", ["64:ff9b::/96"], True),
        ("64:ff9b::a9fe:a9fe", ["64:ff9b::/96"], False),
        ("2002:a00:1::", ["2002::/16"], False),
        ("fd00::5efe:a9fe:a9fe", ["fd00::/8"], False),
        ("fd00::5efe:10.1.2.3", ["fd00::/8", "10.0.0.0/8"], True),
        ("8.8.8.8", ["10.0.0.0/8"], True),
    ],
)
def test_an_allowed_network_opens_itself_and_not_what_its_addresses_carry(
    address: str, networks: list[str], *, allowed: bool
) -> None:
    assert is_allowed(ip_address(address), [ip_network(network) for network in networks]) is allowed
