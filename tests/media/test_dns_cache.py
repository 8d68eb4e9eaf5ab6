import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from moderation_service.contracts.post import ImageRef
from moderation_service.media import dns_cache as room
from moderation_service.media.dns_cache import LOOKUPS_PER_POST, DnsCache
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings
from tests.timing import Clock

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]
Reaching = Callable[..., MediaSettings]
MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(30)


class Dns:
    """Answers at once, except for names that begin with `slow`: those wait for `answer_slow`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer_slow = threading.Event()
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, host: str, port: int) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        self._loop.call_soon_threadsafe(self.changed.set)
        if host.startswith("slow"):
            self.answer_slow.wait(20)
        if host.endswith("nowhere.example"):
            raise socket.gaierror(socket.EAI_NONAME, host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def until_asked(self, times: int) -> None:
        while len(self.asked) < times:
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
async def dns() -> AsyncIterator[Dns]:
    dns = Dns()
    yield dns
    dns.answer_slow.set()


@pytest.fixture
async def names(dns: Dns, clock: Clock) -> AsyncIterator[DnsCache]:
    names = DnsCache(dns, clock=clock)
    yield names
    names.close()


def post() -> asyncio.Semaphore:
    return asyncio.Semaphore(LOOKUPS_PER_POST)


async def test_a_post_of_slow_names_leaves_the_lookups_of_others_alone(
    dns: Dns, serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    port = await serve(handler)
    slow = [ImageRef(url=f"http://slow{i}.example:{port}/") for i in range(10)]
    async with ImageLoader(reaching(port), lookup=dns) as loader:
        hostile = asyncio.create_task(loader.load(slow))
        await dns.until_asked(LOOKUPS_PER_POST)
        loaded = await loader.load([ImageRef(url=f"http://cdn.example:{port}/")])
        assert not hostile.done()
        assert loaded.images[0].status == "judged"
        assert len(dns.asked) == LOOKUPS_PER_POST + 1
        dns.answer_slow.set()
        assert {image.status for image in (await hostile).images} == {"judged"}


async def test_a_lookup_keeps_its_posts_turn_until_it_ends_whoever_waits(dns: Dns, names: DnsCache) -> None:
    turns = post()
    finds = [asyncio.create_task(names.find(f"slow{i}.example", 80, turns)) for i in range(5)]
    await dns.until_asked(LOOKUPS_PER_POST)
    for find in finds:
        find.cancel()
    await asyncio.wait(finds)
    assert turns.locked()
    dns.answer_slow.set()
    await names.find("cdn.example", 80, turns)
    assert dns.asked == ["slow0.example", "slow1.example", "cdn.example"]


async def test_lookups_of_one_name_are_shared_by_those_who_stay(dns: Dns, names: DnsCache) -> None:
    first = asyncio.create_task(names.find("slow.example", 80, post()))
    others = [asyncio.create_task(names.find("slow.example", 80, post())) for _ in range(40)]
    await dns.until_asked(1)
    first.cancel()
    await asyncio.wait([first])
    dns.answer_slow.set()
    assert {found[0][4][0] for found in await asyncio.gather(*others)} == {"127.0.0.1"}
    assert dns.asked == ["slow.example"]


async def test_a_name_that_waits_behind_its_posts_slow_ones_is_looked_up_for_another_post(
    dns: Dns, names: DnsCache
) -> None:
    turns = post()
    hosts = ["slow0.example", "slow1.example", "cdn.example"]
    finds = [asyncio.create_task(names.find(host, 80, turns)) for host in hosts]
    await dns.until_asked(LOOKUPS_PER_POST)
    assert await names.find("cdn.example", 80, post())
    dns.answer_slow.set()
    await asyncio.gather(*finds)
    assert sorted(dns.asked) == sorted(hosts)


async def test_an_answer_is_kept_for_a_moment(dns: Dns, names: DnsCache, clock: Clock) -> None:
    await names.find("cdn.example", 80, post())
    clock.now += room._TTL_S - 1
    await names.find("cdn.example", 443, post())
    assert len(dns.asked) == 1
    clock.now += 1
    await names.find("cdn.example", 80, post())
    assert len(dns.asked) == 2


async def test_a_kept_answer_needs_no_turn(dns: Dns, names: DnsCache) -> None:
    turns = post()
    await names.find("cdn.example", 80, turns)
    finds = [asyncio.create_task(names.find(f"slow{i}.example", 80, turns)) for i in range(2)]
    await dns.until_asked(3)
    assert await names.find("cdn.example", 80, turns)
    dns.answer_slow.set()
    await asyncio.gather(*finds)


async def test_no_answer_is_not_kept(dns: Dns, names: DnsCache) -> None:
    for _ in range(2):
        with pytest.raises(ImageFault, match="no such host"):
            await names.find("nowhere.example", 80, post())
    assert len(dns.asked) == 2
    assert dict(names._answers) == {}


async def test_the_oldest_answer_makes_room_for_a_new_one(dns: Dns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MAX_ANSWERS", 3)
    names = DnsCache(dns)
    for i in range(5):
        await names.find(f"cdn{i}.example", 80, post())
    assert list(names._answers) == ["cdn2.example", "cdn3.example", "cdn4.example"]
    names.close()


async def test_closing_waits_for_no_lookup(dns: Dns, names: DnsCache) -> None:
    find = asyncio.create_task(names.find("slow.example", 80, post()))
    await dns.until_asked(1)
    names.close()
    await asyncio.wait([find])
    assert not dns.answer_slow.is_set()
    assert find.cancelled()
