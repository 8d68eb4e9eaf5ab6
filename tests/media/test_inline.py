import base64
from collections.abc import Callable

import pytest

from moderation_service.contracts.post import ImageRef
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings

Picture = Callable[..., bytes]


async def status(reference: ImageRef, **changes: object) -> str:
    async with ImageLoader(MediaSettings.model_validate(changes)) as loader:
        loaded = await loader.load([reference])
    assert loaded.fetch_ms == 0 or loaded.images[0].status == "refused"
    return loaded.images[0].status


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_base64_is_read_whatever_its_line_breaks(picture: Picture) -> None:
    assert await status(ImageRef(data=b64(picture()))) == "judged"
    assert await status(ImageRef(data=base64.encodebytes(picture()).decode().replace("\n", "\r\n"))) == "judged"


@pytest.mark.parametrize("text", ["%%%", "iVBORw0KGgo", "aaaa=aaa", "ünï", "=", " \n", "data:image/png;base64,aaaa"])
async def test_what_is_not_base64_of_a_picture_is_undecodable(text: str) -> None:
    assert await status(ImageRef(data=text)) == "undecodable"


async def test_a_data_url_is_read(picture: Picture) -> None:
    encoded = b64(picture())
    assert await status(ImageRef(url=f"data:image/png;base64,{encoded}")) == "judged"
    assert await status(ImageRef(url=f"DATA:image/gif;charset=x;BASE64,{encoded.replace('=', '%3D')}")) == "judged"
    percent = "".join(f"%{byte:02x}" for byte in picture())
    assert await status(ImageRef(url=f"data:,{percent}")) == "judged"


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:image/png;base64,", "data:,", "data:,\ud800"])
async def test_a_broken_data_url_is_undecodable(url: str) -> None:
    assert await status(ImageRef.model_construct(url=url)) == "undecodable"


async def test_inline_bytes_over_the_cap_are_not_decoded(picture: Picture) -> None:
    data = picture()
    assert await status(ImageRef(data=b64(data)), max_bytes=len(data)) == "judged"
    assert await status(ImageRef(data=b64(data)), max_bytes=len(data) - 1) == "too_large"
    assert await status(ImageRef(data=b64(data * 2)), max_bytes=len(data)) == "too_large"
    assert await status(ImageRef(data="\n" * 10_000 + b64(data)), max_bytes=len(data)) == "too_large"
    assert await status(ImageRef(url=f"data:;base64,{b64(data)}"), max_bytes=len(data) - 1) == "too_large"
    assert await status(ImageRef(url="data:," + "x" * 200), max_bytes=100) == "too_large"


async def test_inline_pictures_are_refused_where_data_is_not_allowed(picture: Picture) -> None:
    for reference in (ImageRef(data=b64(picture())), ImageRef(url="data:,x")):
        assert await status(reference, allowed_schemes={"https"}) == "refused"
