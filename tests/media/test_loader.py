import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from moderation_service.contracts.post import ImageRef
from moderation_service.media import decode as decode_module
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]
Reaching = Callable[..., MediaSettings]
MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(30)


def inline(data: bytes) -> ImageRef:
    return ImageRef(data=base64.b64encode(data).decode())


async def test_the_images_of_a_post_keep_their_order_whatever_becomes_of_them(
    serve: Serve, reaching: Reaching, make_image: MakeImage, tmp_path: Path
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=make_image("GIF")) if request.path == "/there" else web.Response(status=404)

    port = await serve(handler)
    (tmp_path / "cat.avif").write_bytes(make_image("AVIF"))
    references = [
        inline(make_image("PNG")),
        ImageRef(url=f"http://127.0.0.1:{port}/there"),
        ImageRef(url=f"http://127.0.0.1:{port}/gone"),
        ImageRef(url="http://10.0.0.1/"),
        ImageRef(url="file:cat.avif"),
        ImageRef(object="s3://bucket/key"),
        inline(make_image("TIFF")),
        inline(b"no picture"),
        inline(make_image("PNG", (3000, 3000))),
        inline(make_image("PNG")),
    ]
    settings = reaching(
        port,
        allowed_schemes={"http", "data", "file", "object"},
        file_root=tmp_path,
        max_images=9,
        max_pixels=8_999_999,
    )
    async with ImageLoader(settings) as loader:
        loaded = await loader.load(references)
    assert [(image.status, image.media_type) for image in loaded.images] == [
        ("judged", "image/png"),
        ("judged", "image/gif"),
        ("unavailable", None),
        ("refused", None),
        ("judged", "image/avif"),
        ("refused", None),
        ("unsupported", "image/tiff"),
        ("undecodable", None),
        ("too_large", "image/png"),
        ("skipped", None),
    ]
    assert loaded.fetch_ms > 0
    assert loaded.decode_ms > 0


async def test_a_post_without_images_takes_no_time() -> None:
    async with ImageLoader(MediaSettings()) as loader:
        loaded = await loader.load([])
    assert (loaded.images, loaded.fetch_ms, loaded.decode_ms) == ((), 0.0, 0.0)


async def test_the_images_of_a_post_are_fetched_side_by_side(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    together = asyncio.Barrier(4)

    async def handler(_: web.Request) -> web.Response:
        await together.wait()  # passes only if all four are asked for at once
        return web.Response(body=make_image())

    port = await serve(handler)
    async with ImageLoader(reaching(port)) as loader:
        loaded = await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/{i}") for i in range(4)])
    assert {image.status for image in loaded.images} == {"judged"}


async def test_no_more_images_than_allowed_are_held_at_once(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    now, most, full = 0, 0, asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        now -= 1
        return web.Response(body=make_image())

    port = await serve(handler)
    references = [ImageRef(url=f"http://127.0.0.1:{port}/")] * 6
    async with ImageLoader(reaching(port, concurrent_images=3)) as loader:
        posts = await asyncio.gather(loader.load(references), loader.load(references))
    assert {image.status for loaded in posts for image in loaded.images} == {"judged"}
    assert most == 3


class Tarpit:
    """A host that takes requests and answers none before `released`."""

    def __init__(self) -> None:
        self.asked = 0
        self.full, self.released = asyncio.Event(), asyncio.Event()
        self.full_at = 1

    async def __call__(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.asked == self.full_at:
            self.full.set()
        await self.released.wait()
        return web.Response(status=404)


async def test_images_at_hand_do_not_wait_for_hosts_that_never_answer(
    serve: Serve, reaching: Reaching, make_image: MakeImage, tmp_path: Path
) -> None:
    tarpit = Tarpit()
    tarpit.full_at = 64
    port = await serve(tarpit)
    (tmp_path / "cat.png").write_bytes(make_image())
    settings = reaching(
        port, allowed_schemes={"http", "data", "file"}, file_root=tmp_path, connections_per_host=100, fetch_timeout_s=20
    )
    async with ImageLoader(settings) as loader:
        references = [ImageRef(url=f"http://127.0.0.1:{port}/")] * 10
        hostile = [asyncio.create_task(loader.load(references)) for _ in range(20)]
        await tarpit.full.wait()
        loaded = await loader.load([inline(make_image()), ImageRef(url="file:cat.png")])
        assert [image.status for image in loaded.images] == ["judged", "judged"]
        assert tarpit.asked == 64
        assert not any(post.done() for post in hostile)
        tarpit.released.set()
        await asyncio.gather(*hostile)


async def test_one_post_cannot_take_what_all_posts_share(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    async def quick(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    tarpit = Tarpit()
    tarpit.full_at = 4
    slow_port, quick_port = await serve(tarpit), await serve(quick)
    async with ImageLoader(reaching(slow_port, quick_port, concurrent_images=5)) as loader:
        hostile = asyncio.create_task(loader.load([ImageRef(url=f"http://127.0.0.1:{slow_port}/")] * 10))
        await tarpit.full.wait()
        loaded = await loader.load([ImageRef(url=f"http://127.0.0.1:{quick_port}/")])
        assert loaded.images[0].status == "judged"
        assert (tarpit.asked, hostile.done()) == (4, False)
        tarpit.released.set()
        await hostile
    assert tarpit.asked == 10


async def test_a_post_waits_for_its_own_images_no_longer_than_for_one(serve: Serve, reaching: Reaching) -> None:
    tarpit = Tarpit()
    port = await serve(tarpit)
    async with ImageLoader(reaching(port, fetch_timeout_s=1.0, fetch_attempts=1)) as loader:
        loaded = await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")] * 10)
    assert {image.status for image in loaded.images} == {"unavailable"}
    assert 4 <= tarpit.asked < 10  # those that were asked together, and at most what a slow machine began after them
    tarpit.released.set()


async def test_the_loop_runs_on_while_an_image_decodes(make_image: MakeImage, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, decoding, seen = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    threads: set[int] = set()
    real = decode_module.decode

    def decode(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        loop.call_soon_threadsafe(decoding.set)
        assert seen.wait(10)  # held until the loop has been seen to run
        return real(*arguments)

    monkeypatch.setattr(decode_module, "decode", decode)
    async with ImageLoader(MediaSettings(decode_threads=2)) as loader:
        task = asyncio.create_task(loader.load([inline(make_image())] * 8))
        await decoding.wait()
        seen.set()
        loaded = await task
    assert {image.status for image in loaded.images} == {"judged"}
    assert threading.get_ident() not in threads
    assert len(threads) <= 2


async def test_a_cancelled_load_leaves_nothing_open(serve: Serve, reaching: Reaching, make_image: MakeImage) -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        asked.set()
        await released.wait()
        return web.Response(body=make_image())

    port = await serve(handler)
    async with ImageLoader(reaching(port, concurrent_images=1)) as loader:
        task = asyncio.create_task(loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")]))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        released.set()
        loaded = await loader.load([ImageRef(url=f"http://127.0.0.1:{port}/")])
    assert loaded.images[0].status == "judged"


async def test_the_loader_is_used_inside_its_context_only(make_image: MakeImage) -> None:
    with pytest.raises(ExceptionGroup, match="unhandled") as caught:
        await ImageLoader(MediaSettings()).load([inline(make_image())])
    assert isinstance(caught.value.exceptions[0], RuntimeError)


async def test_the_same_bytes_give_the_same_digest_wherever_they_come_from(
    serve: Serve, reaching: Reaching, make_image: MakeImage
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=make_image())

    port = await serve(handler)
    async with ImageLoader(reaching(port, allowed_schemes={"http", "data"})) as loader:
        loaded = await loader.load([inline(make_image()), ImageRef(url=f"http://127.0.0.1:{port}/a.jpg")])
    assert loaded.images[0].sha256 == loaded.images[1].sha256
