import asyncio
import builtins
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from moderation_service.contracts.post import ImageRef
from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import ImageFault
from moderation_service.media.loader import ImageLoader, LoadedImage
from moderation_service.media.storage import ObjectReader
from moderation_service.settings import MediaSettings

obstore = pytest.importorskip("obstore")
store = pytest.importorskip("obstore.store")

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[int]]
MakeImage = Callable[..., bytes]

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def s3(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[None]]:
    """An S3 endpoint on loopback, named as the cloud's own environment variables name it."""

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        port = await serve(handler)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    return start


async def load(reference: str, **changes: Any) -> LoadedImage:
    settings = MediaSettings(**{"allowed_buckets": {"pictures"}, "fetch_timeout_s": 5, **changes})
    async with ImageLoader(settings) as loader:
        return (await loader.load([ImageRef(object=reference)])).images[0]


async def test_an_object_is_read_from_an_allowed_bucket(s3: Any, make_image: MakeImage) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=make_image("WEBP"))

    await s3(handler)
    image = await load("s3://pictures/a/b cat?#.webp")
    assert (image.status, image.media_type) == ("judged", "image/webp")
    assert seen[0].path == "/pictures/a/b cat?#.webp"
    assert "Authorization" in seen[0].headers


@pytest.mark.parametrize(
    "reference",
    [
        "s3://other/key",
        "s3://pictures",
        "s3://pictures/",
        "s3://pictures/../other/key",
        "s3://pictures/a/../../other/key",
        "s3://pictures/a//b",
        "s3://pictures@evil/key",
        "s3://user@pictures/key",
        "s3://pictures.evil.example/key",
        "S3://Pictures/key",
        "gs://pictures/key",
        "http://pictures/key",
        "file:///pictures/key",
        "pictures/key",
        "/pictures/key",
    ],
)
async def test_no_other_bucket_and_no_odd_key_is_asked_for(reference: str, s3: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        pytest.fail(f"{request.path} was asked for")

    await s3(handler)
    assert (await load(reference)).status == "refused"


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (401, 1), (500, 2), (503, 2), (429, 2)])
async def test_an_object_that_cannot_be_had_is_unavailable(status: int, asked: int, s3: Any) -> None:
    paths = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status)

    await s3(handler)
    image = await load("s3://pictures/key", fetch_attempts=2)
    assert (image.status, len(paths)) == ("unavailable", asked)


async def test_a_passing_trouble_of_the_store_is_tried_again(s3: Any, make_image: MakeImage) -> None:
    statuses = [503, 500]

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop()) if statuses else web.Response(body=make_image())

    await s3(handler)
    assert (await load("s3://pictures/key")).status == "judged"


async def test_a_store_that_stalls_is_left_at_the_deadline(s3: Any) -> None:
    released = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    await s3(handler)
    assert (await load("s3://pictures/key", fetch_timeout_s=0.3)).status == "unavailable"
    released.set()


async def test_an_object_over_the_cap_is_not_read(s3: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000)

    await s3(handler)
    assert (await load("s3://pictures/key", max_bytes=4999)).status == "too_large"


async def test_objects_are_refused_where_they_are_not_allowed(s3: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        pytest.fail(f"{request.path} was asked for")

    await s3(handler)
    assert (await load("s3://pictures/key", allowed_schemes={"https"})).status == "refused"
    assert (await load("s3://pictures/key", allowed_buckets=set())).status == "refused"


async def test_the_length_that_counts_is_the_one_that_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, get = store.MemoryStore(), obstore.get_async
    memory.put("key", b"x" * 5000)

    async def understated(*arguments: Any) -> Any:
        found = await get(*arguments)
        return SimpleNamespace(meta={"size": 1}, stream=found.stream)

    monkeypatch.setattr(obstore, "get_async", understated)
    settings = MediaSettings(allowed_buckets=frozenset({"pictures"}), max_bytes=4999)
    with pytest.raises(ImageFault) as caught:
        await ObjectReader(settings, open_store=lambda *_: memory).read("s3://pictures/key")
    assert caught.value.status == "too_large"


async def test_buckets_of_three_clouds_can_be_named() -> None:
    stores = {name: store.MemoryStore() for name in ("s3", "gs", "az")}
    for name, memory in stores.items():
        memory.put("key", name.encode())
    settings = MediaSettings(allowed_buckets=frozenset({"one", "gs://two", "az://three/"}))
    reader = ObjectReader(settings, open_store=lambda scheme, *_: stores[scheme])
    assert await reader.read("s3://one/key") == b"s3"
    assert await reader.read("gs://two/key") == b"gs"
    assert await reader.read("az://three/key") == b"az"


async def test_real_stores_are_set_up_without_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    settings = MediaSettings(allowed_buckets=frozenset({"s3://one", "gs://two", "az://three"}))
    async with ImageLoader(settings):
        pass


@pytest.mark.parametrize("entry", ["", "s3://", "http://bucket", "s3://bucket/prefix", "bucket/prefix"])
async def test_the_loader_does_not_start_with_what_is_no_bucket(entry: str) -> None:
    with pytest.raises(Misconfigured, match="is not a bucket"):
        await ImageLoader(MediaSettings(allowed_buckets=frozenset({entry}))).__aenter__()


async def test_the_loader_does_not_start_with_a_bucket_that_cannot_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(Misconfigured, match="az://pictures can't be set up"):
        await ImageLoader(MediaSettings(allowed_buckets=frozenset({"az://pictures"}))).__aenter__()


async def test_without_the_extra_an_allowed_bucket_is_a_clear_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "obstore":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Misconfigured, match=r"moderation-service\[s3\]"):
        await ImageLoader(MediaSettings(allowed_buckets=frozenset({"pictures"}))).__aenter__()
    async with ImageLoader(MediaSettings()):
        pass
