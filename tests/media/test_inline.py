import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest

from moderation_service.contracts.post import ImageRef
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings

MakeImage = Callable[..., bytes]


async def status(reference: ImageRef, **changes: object) -> str:
    async with ImageLoader(MediaSettings.model_validate(changes)) as loader:
        loaded = await loader.load([reference])
    assert loaded.fetch_ms == 0 or loaded.images[0].status == "refused"
    return loaded.images[0].status


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_base64_is_read_whatever_its_line_breaks(make_image: MakeImage) -> None:
    assert await status(ImageRef(data=b64(make_image()))) == "judged"
    assert await status(ImageRef(data=base64.encodebytes(make_image()).decode().replace("\n", "\r\n"))) == "judged"


async def test_base64_is_read_in_either_alphabet_and_with_or_without_padding(make_image: MakeImage) -> None:
    for width in range(6, 12):  # every length of padding, and characters that the alphabets differ in
        data = make_image(size=(width, 7), colour=(255, 239, width))
        for text in (b64(data), base64.urlsafe_b64encode(data).decode()):
            assert await status(ImageRef(data=text)) == "judged"
            assert await status(ImageRef(data=text.rstrip("="))) == "judged"
            assert await status(ImageRef(data=" ".join(text[i : i + 60] for i in range(0, len(text), 60)))) == "judged"
            assert await status(ImageRef(url=f"data:image/png;base64,{text.rstrip('=')}")) == "judged"


async def test_a_data_url_is_read_however_it_is_written(make_image: MakeImage) -> None:
    encoded = b64(make_image())
    for url in (
        f"DATA:image/png;base64,{encoded}",
        f" data:image/png; base64,{encoded}\n",
        f"data:image/png;base64 ,{encoded[:20]}\r\n {encoded[20:]}",
        f"data:;base64,{encoded}#part",
        f"data:;base64,{quote(encoded, safe='')}",
    ):
        assert await status(ImageRef(url=url)) == "judged", url
        assert await status(ImageRef(data=url)) == "judged", url


async def test_a_data_url_is_as_long_as_the_image_needs(make_image: MakeImage) -> None:
    noise = make_image(size=(200, 200), compress_level=0)
    assert len(noise) > 100_000
    assert await status(ImageRef(url=f"data:image/png;base64,{b64(noise)}")) == "judged"


@pytest.mark.parametrize("text", ["%%%", "iVBORw0KGgo", "aaaa=aaa", "ünï", "=", " \n", "data:image/png;base64,aaaa"])
async def test_what_is_not_base64_of_an_image_is_undecodable(text: str) -> None:
    assert await status(ImageRef(data=text)) == "undecodable"


async def test_a_data_url_is_read(make_image: MakeImage) -> None:
    encoded = b64(make_image())
    assert await status(ImageRef(url=f"data:image/png;base64,{encoded}")) == "judged"
    assert await status(ImageRef(url=f"DATA:image/gif;charset=x;BASE64,{encoded.replace('=', '%3D')}")) == "judged"
    percent = "".join(f"%{byte:02x}" for byte in make_image())
    assert await status(ImageRef(url=f"data:,{percent}")) == "judged"


@pytest.mark.parametrize("url", ["data:", "data:image/png;base64", "data:image/png;base64,", "data:,", "data:,\ud800"])
async def test_a_broken_data_url_is_undecodable(url: str) -> None:
    assert await status(ImageRef.model_construct(url=url)) == "undecodable"


async def test_inline_bytes_over_the_cap_are_not_decoded(make_image: MakeImage) -> None:
    data = make_image()
    assert await status(ImageRef(data=b64(data)), max_bytes=len(data)) == "judged"
    assert await status(ImageRef(data=b64(data)), max_bytes=len(data) - 1) == "too_large"
    assert await status(ImageRef(data=b64(data * 2)), max_bytes=len(data)) == "too_large"
    assert await status(ImageRef(data="\n" * 10_000 + b64(data)), max_bytes=len(data)) == "too_large"
    assert await status(ImageRef(url=f"data:;base64,{b64(data)}"), max_bytes=len(data) - 1) == "too_large"
    assert await status(ImageRef(url="data:," + "x" * 200), max_bytes=100) == "too_large"


async def test_inline_images_are_refused_where_data_is_not_allowed(make_image: MakeImage) -> None:
    for reference in (ImageRef(data=b64(make_image())), ImageRef(url="data:,x")):
        assert await status(reference, allowed_schemes={"https"}) == "refused"
