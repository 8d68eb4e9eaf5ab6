from collections.abc import Callable

import pytest

from moderation_service.media.containers import media_type
from moderation_service.media.decode import decode
from moderation_service.settings import MediaSettings

MakeImage = Callable[..., bytes]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b'\xef\xbb\xbf\n<?xml version="1.0"?><!-- x --><svg/>', "image/svg+xml"),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' ''><SVG/>", "image/svg+xml"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "image/heic"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video/mp4"),
        (b"II*\0\x08\0\0\0", "image/tiff"),
        (b"MM\0*\0\0\0\x08", "image/tiff"),
        (b"BM" + bytes(60), "image/bmp"),
        (b"\xff\x0a\xff", "image/jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
        (b"\0\0\1\0\1\0", "image/x-icon"),
        (b"8BPS\0\1", "image/vnd.adobe.photoshop"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
    ],
)
def test_a_known_format_off_the_allow_list_is_unsupported(data: bytes, expected: str) -> None:
    image = decode(data, MediaSettings())
    assert (image.status, image.media_type, image.frames) == ("unsupported", expected, ())


@pytest.mark.parametrize(
    "data", [b"", b"<?xml version='1.0'?><feed/>", b"<!-- <svg> -->"[:6], b"RIFF\0\0\0\0WAVE", b"\0" * 64, b"hello"]
)
def test_anything_else_has_no_type(data: bytes) -> None:
    assert media_type(data) is None


def test_avif_is_known_by_any_of_its_brands(make_image: MakeImage) -> None:
    assert media_type(make_image("AVIF")) == "image/avif"
    assert media_type(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "image/avif"
    assert media_type(b"\0\0\0\x18ftypavis\0\0\0\0msf1avis") == "image/avif"
