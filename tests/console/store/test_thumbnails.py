"""Thumbnails: made through the guards while the addresses work, and never of what was erased."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from io import BytesIO
from ipaddress import ip_network

import pytest
from aiohttp import web
from PIL import Image
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import posts
from moderation_service.console.store.tables import thumbnails
from moderation_service.console.store.thumbnails import Thumbnails
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings, Settings
from tests.console.store.test_posts import judge
from tests.console.support import console_settings


def make_image(size: tuple[int, int] = (2000, 1000)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, "red").save(out, "PNG")
    return out.getvalue()


class Host:
    """A server of images that can be made to wait."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.port = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked.set()
        await self.may_answer.wait()
        return web.Response(body=make_image())


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    made = Host()
    app = web.Application()
    app.router.add_get("/{name}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = int(runner.addresses[0][1])
    yield made
    await runner.cleanup()


def settings(url: str, host: Host) -> Settings:
    schemes = frozenset({"data", "http"})
    network = frozenset({ip_network("127.0.0.0/8")})
    media = MediaSettings(
        allowed_schemes=schemes, allowed_networks=network, allowed_ports=frozenset({host.port}), fetch_attempts=1
    )
    return console_settings(url, thumbnail_side=128).model_copy(update={"media": media})


async def put(database: AsyncEngine, *images: ImageRef, text: str = "words") -> None:
    post = Post(post_id="p-17", revision=2, text=text, images=images)
    async with database.begin() as connection:
        await posts.put(connection, post, post.model_dump_json().encode())


async def made(database: AsyncEngine, settings: Settings) -> int:
    maker = Thumbnails(settings, database)
    async with ImageLoader(maker._media) as loader:
        return await maker.make(loader)


async def test_thumbnails_are_made_once_a_verdict_wants_the_post_and_then_the_record_is_dropped(
    database: AsyncEngine, database_url: str, host: Host
) -> None:
    inline = ImageRef(data=base64.b64encode(make_image((10, 20))).decode())
    gone = ImageRef(data=base64.b64encode(b"no picture").decode())
    fetched = ImageRef(url=f"http://127.0.0.1:{host.port}/large.png")
    refused = ImageRef(url="http://127.0.0.1:1/inside")
    file = ImageRef(url="file:///etc/passwd")
    await put(database, inline, gone, fetched, refused, file)
    chosen = settings(database_url, host)
    assert await made(database, chosen) == 0
    await judge(database, "review")
    assert await made(database, chosen) == 1
    assert await made(database, chosen) == 0
    shown = await posts.shown(database, "p-17", 2)
    assert shown is not None
    assert not shown.due
    assert [(one.status, one.width, one.height) for one in shown.thumbnails] == [
        ("judged", 10, 20),
        ("undecodable", None, None),
        ("judged", 128, 64),
        ("refused", None, None),
        ("refused", None, None),
    ]
    stored = await posts.thumbnail(database, "p-17", 2, 2, sha256(make_image()).hexdigest())
    assert stored is not None
    with Image.open(BytesIO(stored)) as small:
        assert (small.format, small.size) == ("WEBP", (128, 64))
    assert await posts.thumbnail(database, "p-17", 2, 2, "another") is None
    assert await posts.thumbnail(database, "p-17", 2, 1, None) is None


async def test_a_post_without_images_keeps_no_record(database: AsyncEngine, database_url: str, host: Host) -> None:
    await put(database)
    await judge(database, "review")
    assert await posts.shown(database, "p-17", 2) == posts.ShownPost("words", (), due=False)


async def erase(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await posts.erase(connection, ["p-17"])


async def publish_anew(database: AsyncEngine) -> None:
    await put(database, ImageRef(url="data:,"), text="anew")


@pytest.mark.parametrize("meanwhile", [erase, publish_anew])
async def test_what_changes_while_an_image_is_fetched_gets_no_thumbnail_of_before(
    database: AsyncEngine, database_url: str, host: Host, meanwhile: Callable[[AsyncEngine], AsyncIterator[None]]
) -> None:
    await put(database, ImageRef(url=f"http://127.0.0.1:{host.port}/slow.png"))
    await judge(database, "review")
    host.may_answer.clear()
    making = asyncio.create_task(made(database, settings(database_url, host)))
    await host.asked.wait()
    await meanwhile(database)
    host.may_answer.set()
    await making
    async with database.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(thumbnails))).scalar_one() == 0


async def test_they_are_made_as_long_as_it_runs(database: AsyncEngine, database_url: str, host: Host) -> None:
    running = asyncio.create_task(Thumbnails(settings(database_url, host), database).run())
    await put(database, ImageRef(url=f"http://127.0.0.1:{host.port}/a.png"))
    await judge(database, "block")

    async def there() -> bool:
        return await posts.thumbnail(database, "p-17", 2, 0, None) is not None

    async with asyncio.timeout(30):
        while not await there():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_record_that_can_no_longer_be_read_stops_nothing(
    database: AsyncEngine, database_url: str, host: Host
) -> None:
    async with database.begin() as connection:
        await posts.put(connection, Post(post_id="p-17", revision=2, images=(ImageRef(url="data:,"),)), b"{}")
    await judge(database, "review")
    assert await made(database, settings(database_url, host)) == 1
    assert await posts.shown(database, "p-17", 2) == posts.ShownPost("", (), due=False)
