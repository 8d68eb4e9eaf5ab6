import socket
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.contracts.post import ImageRef
from moderation_service.media.gate import AddressRefused, Gate
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings

REFUSED_HOSTS = [
    # private, loopback, link-local, multicast, reserved
    "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.1.1", "127.0.0.1", "127.8.8.8", "0.0.0.0",
    "0.0.0.1", "169.254.1.1", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "100.64.0.1",
    "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.88.99.1",
    # metadata services
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[fd00:ec2::254]",
    # IPv6
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fdab::1]", "[ff02::1]",
    "[fec0::1]", "[2001:db8::1]", "[100::1]", "[5f00::1]",
    # IPv4 inside IPv6
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:8.8.8.8]", "[::127.0.0.1]", "[::a9fe:a9fe]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]", "[2002:a00:1::]",
    "[2606:4700::5efe:a9fe:a9fe]", "[2606:4700::200:5efe:7f00:1]", "[2002:7f00:1::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    # decimal, octal, hexadecimal and shortened spellings
    "2130706433", "017700000001", "0x7f000001", "0X7F000001", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1",
    "0x7f.1", "127.0.0.01", "127.0.0.0x1", "3232235777", "0xa9fea9fe", "2852039166", "169.254.43518", "00.0.0.0",
    "127.0.0.1.", "10.0.0.1.", "2130706433.", "1.2.3.4.5", "256.256.256.256", "0x", "example.0x1", "example.1",
    # spellings that normalise into an address
    "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "127.0.0.1%00.example.org",
    # names that are none
    "example.org.", "localhost.", "example..org", ".example.org", "-a.example.org", "a-.example.org", "exa mple.org",
    "exa\tmple.org", "example.org%2f", "a" * 64 + ".org", ("a" * 60 + ".") * 5 + "org", "",
]  # fmt: skip
REFUSED_URLS = [
    *(f"https://{host}/cat.jpg" for host in REFUSED_HOSTS),
    "https://10.0.0.1:443/", "https://8.8.8.8:22/", "https://8.8.8.8:0/", "https://8.8.8.8:99999/", "https://8.8.8.8:x/",
    "http://8.8.8.8/", "ftp://8.8.8.8/", "gopher://8.8.8.8/", "file:///etc/passwd", "file:etc/passwd", "//8.8.8.8/",
    "8.8.8.8/cat.jpg", "javascript:alert(1)", "https:/8.8.8.8/", "https:8.8.8.8", "https://", "about:blank",
    "https://user@8.8.8.8/", "https://user:password@8.8.8.8/", "https://:@8.8.8.8/", "https://@8.8.8.8/",
    "https://8.8.8.8@10.0.0.1/", "https://8.8.8.8#@10.0.0.1:22/\\", "https://8.8.8.8\\@10.0.0.1/",
    "https:\\\\8.8.8.8\\", "unix:///s", "https://8.8.8.8\t/", "https://8.8.8.8/\r\nHost: internal", " https://8.8.8.8/",
    "https://8.8.8.8/a b",
    "https://8.8.8.8/\u2028", "https://[8.8.8.8]/", "https://[::1/", "https://::1/", "https://[v1.x]/",
]  # fmt: skip


def test_the_table_of_refused_addresses_is_long_enough_to_mean_something() -> None:
    assert len(set(REFUSED_HOSTS)) >= 80
    assert len(set(REFUSED_URLS)) == len(REFUSED_URLS)


async def test_no_socket_is_made_for_any_refused_address(sockets: list[tuple[str, Any]]) -> None:
    def lookup(host: str, port: int) -> list[Any]:
        pytest.fail(f"{host}:{port} was looked up")

    settings = MediaSettings(max_images=len(REFUSED_URLS))
    async with ImageLoader(settings, lookup=lookup) as loader:
        loaded = await loader.load([ImageRef(url=url) for url in REFUSED_URLS])

    passed = {url: image.status for url, image in zip(REFUSED_URLS, loaded.images, strict=True)}
    assert {url: status for url, status in passed.items() if status != "refused"} == {}
    assert sockets == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://8.8.8.8/cat.jpg", "8.8.8.8"),
        ("HTTPS://CDN.Example.org/cat.jpg?w=1&s=%2B#part", "cdn.example.org"),
        ("https://[2606:4700::1111]/", "2606:4700::1111"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://cdn.example.org:443/ü.png", "cdn.example.org"),
        ("https://my_bucket.cdn.example.org:80/x", "my_bucket.cdn.example.org"),
        ("https://3m.example.org/x", "3m.example.org"),
        ("https://localhost/x", "localhost"),  # a name like any other: its answer is what gets refused
    ],
)
def test_a_public_address_or_a_proper_name_may_be_tried(url: str, host: str) -> None:
    passed = Gate(MediaSettings()).url(url)
    assert passed.raw_host == host
    assert passed.fragment == ""


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("cdn.example.org", True),
        ("CDN.EXAMPLE.ORG", True),
        ("a.img.example.org", True),
        ("a.b.img.example.org", True),
        ("img.example.org", False),
        ("evilimg.example.org", False),
        ("cdn.example.org.evil.example", False),
        ("xcdn.example.org", False),
        ("8.8.8.8", False),
        ("1.1.1.1", True),
        ("xn--bcher-kva.example", True),
    ],
)
def test_with_a_list_of_hosts_no_other_host_may_be_tried(host: str, *, allowed: bool) -> None:
    hosts = frozenset({"Cdn.example.org", "*.img.example.org", "1.1.1.1", "bücher.example"})
    gate = Gate(MediaSettings(allowed_hosts=hosts))
    if allowed:
        gate.url(f"https://{host}/")
    else:
        with pytest.raises(ImageFault, match="host"):
            gate.url(f"https://{host}/")


@given(st.text() | st.from_regex(r"(https?|ftp):/{0,3}[\[\]@:%./?#\\a0-9x]{0,30}"))
def test_whatever_is_written_is_refused_or_is_a_clean_url(text: str) -> None:
    try:
        url = Gate(MediaSettings()).url(text)
    except ImageFault as fault:
        assert fault.status == "refused"  # noqa: PT017 - either way is right
    else:
        assert (url.scheme, url.raw_user, url.raw_password) == ("https", None, None)
        assert Gate(MediaSettings()).url(str(url)) == url


LONG_AUTHORITIES = [
    "a." * 127 + "example", "é" * 261, "ﷺ" * 8100, "ﷺ" * 260, "ﷺ" * 15, "\u0344" * 8100, "x@" + "ﷺ" * 8000,
    "a:" + "ﷺ" * 300, "[" + "ﷺ" * 8000 + "]", "。" * 261,
]  # fmt: skip


@pytest.mark.parametrize("authority", LONG_AUTHORITIES, ids=range(len(LONG_AUTHORITIES)))
def test_an_authority_longer_than_any_name_is_refused_before_it_is_parsed(
    authority: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Gate(MediaSettings())
    start = opened.url("https://8.8.8.8/")
    monkeypatch.setattr("moderation_service.media.gate.URL", lambda text: pytest.fail(f"{len(text)} were parsed"))
    for refused in (
        lambda: opened.url(f"https://{authority}/cat.jpg"),
        lambda: opened.url(f"HTTPS://{authority}?x=//y"),
        lambda: opened.redirect(start, f"https://{authority}#"),
        lambda: opened.redirect(start, f"  //{authority}"),
    ):
        with pytest.raises(ImageFault, match="host name"):
            refused()


def test_a_name_of_253_characters_may_be_tried() -> None:
    name = "a" * 61 + ("." + "b" * 63) * 3
    assert len(name) == 253
    assert Gate(MediaSettings()).url(f"https://{name}:443/{'long/' * 1000}?u=//{'x' * 500}").raw_host == name


def test_being_on_the_list_of_hosts_does_not_open_a_private_address() -> None:
    with pytest.raises(ImageFault, match="address"):
        Gate(MediaSettings(allowed_hosts=frozenset({"10.0.0.1"}))).url("https://10.0.0.1/")


def test_the_last_gate_makes_sockets_only_for_allowed_addresses_and_ports(sockets: list[tuple[str, Any]]) -> None:
    gate = Gate(MediaSettings(allowed_networks=frozenset({ip_network("127.0.0.0/8")})))
    stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    for address in (("10.0.0.1", 443), ("127.0.0.1", 22), ("not an address", 443), ("fe80::1%1", 443)):
        with pytest.raises(AddressRefused):
            gate.socket((*stream, address))
    assert sockets == []

    gate.socket((*stream, ("127.0.0.1", 443))).close()
    assert [event for event, _ in sockets] == ["socket.__new__"]
