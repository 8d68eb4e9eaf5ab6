import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web

from moderation_service.contracts.post import ImageRef
from moderation_service.media import dns_cache
from moderation_service.media.fetch import WebFetcher
from moderation_service.media.gate import Gate
from moderation_service.media.loader import ImageLoader, LoadedImage
from moderation_service.settings import MediaSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]
Reaching = Callable[..., MediaSettings]
MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(30)


async def load(settings: MediaSettings, *urls: str, lookup: Any = None) -> tuple[LoadedImage, ...]:
    async with ImageLoader(settings, lookup=lookup) as loader:
        return (await loader.load([ImageRef(url=url) for url in urls])).images


def answer(port: int, address: str = "127.0.0.1") -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


async def test_an_image_is_fetched_with_a_plain_request(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=make_image("JPEG"), headers={"Set-Cookie": "a=b"}, content_type="text/html")

    port = await serve(handler)
    async with ImageLoader(reaching(port)) as loader:
        reference = ImageRef(url=f"http://127.0.0.1:{port}/a%20cat.jpg?sig=%2B%2F#part", media_type="image/gif")
        for _ in range(2):
            loaded = await loader.load([reference])

    assert [image.status for image in loaded.images] == ["judged"]
    assert loaded.images[0].media_type == "image/jpeg"
    assert loaded.fetch_ms > 0
    headers = seen[1].headers
    assert seen[1].raw_path == "/a%20cat.jpg?sig=%2B%2F"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("Mozilla/5.0")
    assert "moderation" not in str(headers).lower()
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


async def test_the_user_agent_is_the_owners(serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["User-Agent"])
        return web.Response(body=make_image())

    port = await serve(handler)
    await load(reaching(port, user_agent="example-bot/1 (+https://example.org/bot)"), f"http://127.0.0.1:{port}/")
    assert seen == ["example-bot/1 (+https://example.org/bot)"]


async def test_the_environment_cannot_put_a_proxy_in_between(
    serve: Serve, reaching: Reaching, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def direct(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    async def proxy(_: web.Request) -> web.Response:
        pytest.fail("the proxy was asked")

    port, proxy_port = await serve(direct), await serve(proxy)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy_port}")
    (image,) = await load(reaching(port, proxy_port), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 206, 304])
async def test_an_answer_that_will_stay_is_not_asked_for_again(status: int, serve: Serve, reaching: Reaching) -> None:
    asked = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status)

    port = await serve(handler)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert (image.status, image.sha256, asked) == ("unavailable", None, 1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_trouble_is_tried_again(
    status: int, serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    statuses = [status, status]

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop()) if statuses else web.Response(body=make_image())

    port = await serve(handler)
    (image,) = await load(reaching(port, fetch_attempts=3), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


async def test_a_trouble_that_stays_makes_the_image_unavailable(serve: Serve, reaching: Reaching) -> None:
    asked = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503)

    port = await serve(handler)
    (image,) = await load(reaching(port, fetch_attempts=2), f"http://127.0.0.1:{port}/")
    assert (image.status, asked) == ("unavailable", 2)


async def test_a_closed_port_makes_the_image_unavailable(reaching: Reaching) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (image,) = await load(reaching(port, fetch_attempts=2), f"http://127.0.0.1:{port}/")
    assert image.status == "unavailable"


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n\x89PNG", b"SSH-2.0-x\r\n\r\n"])
async def test_a_connection_that_breaks_off_is_tried_again(
    sent: bytes, serve_raw: Any, reaching: Reaching, make_image: MakeImage
) -> None:
    bodies = [sent]
    whole = make_image()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bodies.pop() if bodies else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole)
        await writer.drain()

    port = await serve_raw(talk)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


async def test_a_stalled_host_is_tried_again_within_the_deadline(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    stalls = [asyncio.Event()]

    async def handler(_: web.Request) -> web.Response:
        if stalls:
            await stalls.pop().wait()
        return web.Response(body=make_image())

    port = await serve(handler)
    (image,) = await load(reaching(port, fetch_timeout_s=1.0, fetch_attempts=4), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


async def test_a_host_that_trickles_is_left_at_the_deadline(serve_raw: Any, reaching: Reaching) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:  # the trickle is what is under test: never stalled, never done
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    port = await serve_raw(talk)
    started = asyncio.get_running_loop().time()
    (image,) = await load(reaching(port, fetch_timeout_s=0.4, fetch_attempts=2), f"http://127.0.0.1:{port}/")
    assert image.status == "unavailable"
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_body_announced_over_the_cap_is_not_read(serve: Serve, reaching: Reaching) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2000)

    port = await serve(handler)
    (image,) = await load(reaching(port, max_bytes=1999), f"http://127.0.0.1:{port}/")
    assert (image.status, image.sha256) == ("too_large", None)


async def test_a_body_without_a_length_is_cut_off_at_the_cap(serve: Serve, reaching: Reaching) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            while sent < 64 * 1024 * 1024:
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            pass
        return response

    port = await serve(handler)
    (image,) = await load(reaching(port, max_bytes=100_000), f"http://127.0.0.1:{port}/")
    assert image.status == "too_large"
    assert sent < 32 * 1024 * 1024


async def test_a_body_of_exactly_the_cap_passes(serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    body = make_image()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body)

    port = await serve(handler)
    (image,) = await load(reaching(port, max_bytes=len(body)), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip", "GZIP"])
async def test_a_compressed_body_is_refused(
    encoding: str, serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image(), headers={"Content-Encoding": encoding})

    port = await serve(handler)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert image.status == "refused"


async def test_the_identity_encoding_may_be_named(serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image(), headers={"Content-Encoding": "identity"})

    port = await serve(handler)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert image.status == "judged"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int, serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/old":
            return web.Response(status=status, headers={"Location": "../new?x=1"})
        return web.Response(body=make_image())

    port = await serve(handler)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/old")
    assert image.status == "judged"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://localhost.:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254:{port}/latest/meta-data",
        "//127.0.0.3:{port}/",
        "http://user@127.0.0.1:{port}/",
        "http://127.0.0.1:1/",
        "https://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "ftp://127.0.0.1:{port}/",
        "http:\\\\127.0.0.1:{port}\\",
        "http://[::1/",
        "http://" + "ﷺ" * 2600,
        "//" + "ﷺ" * 2600 + "/",
        "/\t/127.0.0.1:{port}/",
    ],
)
async def test_a_redirect_passes_the_same_gate(
    location: str, serve: Serve, reaching: Reaching, sockets: list[tuple[str, Any]]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location.format(port=port)})

    port = await serve(handler)
    sockets.clear()
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert image.status == "refused"
    assert {event[1][0] for event in sockets if event[0] == "socket.connect"} == {("127.0.0.1", port)}


@pytest.mark.parametrize("headers", [{}, {"Location": ""}])
async def test_a_redirect_to_nowhere_makes_the_image_unavailable(
    headers: dict[str, str], serve: Serve, reaching: Reaching
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers=headers)

    port = await serve(handler)
    (image,) = await load(reaching(port), f"http://127.0.0.1:{port}/")
    assert image.status == "unavailable"


async def test_a_loop_of_redirects_ends(serve: Serve, reaching: Reaching) -> None:
    asked = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=302, headers={"Location": "/again"})

    port = await serve(handler)
    (image,) = await load(reaching(port, max_redirects=3), f"http://127.0.0.1:{port}/")
    assert (image.status, asked) == ("unavailable", 4)


async def test_a_name_that_answers_with_a_refused_address_is_refused(
    reaching: Reaching, sockets: list[tuple[str, Any]]
) -> None:
    found = [answer(80, address) for address in ("10.0.0.1", "169.254.169.254", "127.0.0.2")]
    found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%1", 80, 0, 1)))
    (image,) = await load(reaching(80), "http://evil.example/", lookup=lambda *_: found)
    assert image.status == "refused"
    assert sockets == []


async def test_of_mixed_answers_only_the_allowed_are_dialled(
    serve: Serve, reaching: Reaching, make_image: MakeImage, sockets: list[tuple[str, Any]]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    port = await serve(handler)
    sockets.clear()
    found = [answer(port, "127.0.0.2"), answer(port)]
    (image,) = await load(reaching(port), f"http://cdn.example:{port}/", lookup=lambda *_: found)
    assert image.status == "judged"
    assert {event[1][0] for event in sockets if event[0] == "socket.connect"} == {("127.0.0.1", port)}


async def test_a_name_that_changes_its_answer_is_checked_at_each_dial(
    serve: Serve, reaching: Reaching, sockets: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_cache, "_TTL_S", 0.0)
    asked = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503, headers={"Connection": "close"})

    def lookup(_: str, port: int) -> list[Any]:
        return [answer(port, "127.0.0.2" if asked else "127.0.0.1")]

    port = await serve(handler)
    sockets.clear()
    (image,) = await load(reaching(port), f"http://rebind.example:{port}/", lookup=lookup)
    assert (image.status, asked) == ("refused", 1)
    assert {event[1][0] for event in sockets if event[0] == "socket.connect"} == {("127.0.0.1", port)}


async def test_a_kept_answer_is_checked_at_each_dial(
    serve: Serve, reaching: Reaching, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image(), headers={"Connection": "close"})

    looked_up = []

    def lookup(host: str, port: int) -> list[Any]:
        looked_up.append(host)
        return [answer(port)]

    port = await serve(handler)
    reference = ImageRef(url=f"http://cdn.example:{port}/")
    async with ImageLoader(reaching(port), lookup=lookup) as loader:
        statuses = [(await loader.load([reference])).images[0].status for _ in range(2)]
        monkeypatch.setattr(Gate, "allows", lambda *_: False)
        statuses.append((await loader.load([reference])).images[0].status)
    assert statuses == ["judged", "judged", "refused"]
    assert looked_up == ["cdn.example"]


async def test_an_address_that_slips_past_the_lookup_gets_no_socket(
    reaching: Reaching, sockets: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = [False, True]
    monkeypatch.setattr(Gate, "allows", lambda *_: verdicts.pop())
    (image,) = await load(reaching(80), "http://evil.example/", lookup=lambda *_: [answer(80, "127.0.0.2")])
    assert (image.status, verdicts, sockets) == ("refused", [], [])


async def test_web_images_are_refused_where_the_web_is_not_allowed() -> None:
    (image,) = await load(MediaSettings(allowed_schemes=frozenset({"data"})), "https://8.8.8.8/")
    assert image.status == "refused"


async def test_the_fetcher_is_used_inside_its_context_only() -> None:
    with pytest.raises(RuntimeError, match="context"):
        await WebFetcher(MediaSettings()).fetch("https://8.8.8.8/", lookups=asyncio.Semaphore())


async def test_the_real_lookup_of_localhost_is_refused(sockets: list[tuple[str, Any]]) -> None:
    (image,) = await load(MediaSettings(), "https://localhost/")
    assert image.status == "refused"
    assert [event for event in sockets if event[0] == "socket.connect"] == []


@pytest.mark.parametrize(
    ("error", "status", "asked"),
    [
        (socket.gaierror(socket.EAI_NONAME, "no such host"), "unavailable", 1),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "unavailable", 3),
        (UnicodeError("label too long"), "refused", 1),
    ],
)
async def test_a_name_without_an_answer_makes_the_image_unavailable(
    error: Exception, status: str, asked: int, reaching: Reaching
) -> None:
    tries = []

    def lookup(host: str, _: int) -> list[Any]:
        tries.append(host)
        raise error

    (image,) = await load(reaching(80, fetch_attempts=3), "http://nowhere.example/", lookup=lookup)
    assert (image.status, len(tries)) == (status, asked)


async def test_plain_http_behind_https_makes_the_image_unavailable(serve: Serve, reaching: Reaching) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    port = await serve(handler)
    (image,) = await load(reaching(port, allowed_schemes={"https"}), f"https://127.0.0.1:{port}/")
    assert image.status == "unavailable"


async def test_no_more_connections_to_one_host_than_allowed(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    open_now, most, full = 0, 0, asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 2:
            full.set()
        await full.wait()
        open_now -= 1
        return web.Response(body=make_image())

    port = await serve(handler)
    images = await load(reaching(port, connections_per_host=2), *[f"http://127.0.0.1:{port}/{i}" for i in range(8)])
    assert {image.status for image in images} == {"judged"}
    assert most == 2


async def test_a_slow_host_does_not_hold_up_another(serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    released = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response(body=make_image())

    async def quick(_: web.Request) -> web.Response:
        released.set()
        return web.Response(body=make_image())

    slow_port, quick_port = await serve(slow), await serve(quick)
    urls = [f"http://127.0.0.1:{slow_port}/{i}" for i in range(3)]
    settings = reaching(slow_port, quick_port, connections_per_host=1)
    images = await load(settings, *urls, f"http://127.0.0.1:{quick_port}/")
    assert {image.status for image in images} == {"judged"}


async def test_nothing_of_a_url_is_logged(
    serve: Serve, reaching: Reaching, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=503)

    port = await serve(handler)
    with caplog.at_level("DEBUG"):
        await load(reaching(port, fetch_attempts=2), f"http://127.0.0.1:{port}/path-secret?token=query-secret")
    out, err = capfd.readouterr()
    assert "secret" not in out + err + "".join(
        record.getMessage() for record in caplog.records if record.name != "aiohttp.access"
    )


async def test_an_allowed_network_admits_a_private_host_by_name(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    port = await serve(handler)
    settings = reaching(port, allowed_networks={ip_network("127.0.0.0/8")}, allowed_hosts={"*.cdn.internal"})
    images = await load(
        settings,
        f"http://img.cdn.internal:{port}/",
        f"http://other.internal:{port}/",
        lookup=lambda _, port: [answer(port)],
    )
    assert [image.status for image in images] == ["judged", "refused"]
