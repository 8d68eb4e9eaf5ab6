import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from moderation_service.media.decode import decode, read_container
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MIB, MediaSettings
from tests.timing import cpu_time_below

MakeImage = Callable[..., bytes]
Animation = Callable[..., bytes]

pytestmark = pytest.mark.timeout(60)


def read(data: bytes, **changes: Any) -> LoadedImage:
    return decode(data, MediaSettings(**changes))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def after_header(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def test_text_and_profile_bombs_of_a_png_are_left_out(make_image: MakeImage) -> None:
    bomb = zlib.compress(bytes(200 * MIB), 9)
    data = after_header(
        make_image(),
        chunk(b"zTXt", b"k\0\0" + bomb),
        chunk(b"iTXt", b"k\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"p\0\0" + bomb),
        chunk(b"tEXt", b"k\0" + b"x" * MIB),
    )
    tracemalloc.start()
    try:
        assert read(data).status == "judged"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB
    assert read_container(data, "image/png").data == make_image()


def test_a_png_keeps_its_first_header_and_palette(make_image: MakeImage) -> None:
    other = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    image = read(after_header(make_image("PNG", (8, 6)), other))
    assert (image.status, image.width, image.height) == ("judged", 8, 6)


@pytest.mark.parametrize(("width", "height"), [(0, 6), (8, 0), (2**31 - 1, 2**31 - 1), (60_000, 60_000)])
def test_a_png_with_a_lying_size_is_not_decoded(width: int, height: int, make_image: MakeImage) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = make_image()
    status = read(data[:8] + header + data[33:]).status
    assert status == ("undecodable" if 0 in (width, height) else "too_large")


def test_a_stream_far_longer_than_its_image_is_not_unpacked(make_image: MakeImage) -> None:
    data = make_image("PNG", (8, 6))
    raw = zlib.compress(bytes(8 * 3 * 6 + 6) + bytes(300 * MIB), 9)
    with cpu_time_below(5):
        image = read(data[:33] + chunk(b"IDAT", raw) + chunk(b"IEND", b""))
        assert image.status in ("judged", "undecodable")


@pytest.mark.parametrize("announced", [1, 2, 4, 2**31 - 1])
def test_an_animated_png_with_other_frames_than_announced_is_undecodable(announced: int, animation: Animation) -> None:
    data = animation("PNG", 3)
    at = data.index(b"acTL") - 4
    lying = data[:at] + chunk(b"acTL", struct.pack(">II", announced, 0)) + data[at + 20 :]
    assert read(data).status == "judged"
    assert read(lying).status == "undecodable"


def test_an_animated_png_without_its_announcement_is_a_still(animation: Animation) -> None:
    data = animation("PNG", 3)
    at = data.index(b"acTL") - 4
    still = read(data[:at] + data[at + 20 :])
    assert (still.status, len(still.frames)) == ("judged", 1)


def test_a_still_ahead_of_an_animated_png_counts_as_a_frame() -> None:
    out = BytesIO()
    stills = [Image.new("L", (8, 8), level) for level in (0, 100, 200)]
    stills[0].save(out, "PNG", save_all=True, append_images=stills[1:], default_image=True)
    assert [int(frame.mean()) for frame in read(out.getvalue()).frames] == [0, 100, 200]


def test_many_empty_chunks_cost_little(make_image: MakeImage) -> None:
    data = after_header(make_image(), *[chunk(b"IDAT", b"")] * 100_000, *[chunk(b"eXIf", b"II*\0")] * 100_000)
    with cpu_time_below(5):
        assert read(data).status == "judged"


def test_what_is_not_image_in_a_jpeg_is_left_out(make_image: MakeImage) -> None:
    data = make_image("JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    first = segment(0xE1, b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0"))
    extra = [
        first,
        *[segment(0xE1, b"Exif\0\0" + b"x" * 20)] * 100_000,
        segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 60_000),
        segment(0xED, b"Photoshop 3.0\0" + b"x" * 60_000),
        segment(0xFE, b"comment"),
        b"junk",
        b"\xff\xff\xff",
    ]
    stuffed = data[:2] + b"".join(extra) + data[2:]
    with cpu_time_below(5):
        image = read(stuffed)
    assert (image.status, image.width, image.height) == ("judged", 6, 8)
    assert read_container(stuffed, "image/jpeg").data == data


def test_a_jpeg_with_two_sizes_is_undecodable(make_image: MakeImage) -> None:
    data = make_image("JPEG")
    at = data.index(b"\xff\xc0")
    assert read(data[:at] + data[at : at + 19] + data[at:]).status == "undecodable"


def test_a_jpeg_whose_markers_make_no_sense_is_undecodable(make_image: MakeImage) -> None:
    data = make_image("JPEG")
    scan = data[data.index(b"\xff\xda") :]
    assert read(data[:2] + b"\xff\x00\xff\xd0\xff\x01" + data[2:]).status == "judged"
    for body in (scan, b"\xff\xd9", b"\xff\xdb\0\1" + scan, b"\xff\xdb\xff\xff", b"\xff", b""):
        assert read(b"\xff\xd8\xff" + body).status == "undecodable"


def test_a_jpeg_with_a_lying_size_is_not_decoded(make_image: MakeImage) -> None:
    data = make_image("JPEG")
    at = data.index(b"\xff\xc0") + 5
    assert read(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]).status == "too_large"
    assert read(data[:at] + b"\0\0\0\x08" + data[at + 4 :]).status == "undecodable"


def test_a_progressive_jpeg_with_very_many_scans_is_too_large(make_image: MakeImage) -> None:
    data = make_image("JPEG", (1000, 1000), progressive=True)
    assert read(data, max_pixels=1_000_000).status == "judged"
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    bomb = data[:-2] + scan * 20_000 + data[-2:]
    with cpu_time_below(2):
        assert read(bomb).status == "too_large"


def test_a_gif_whose_frame_is_larger_than_its_screen_is_measured_by_the_frame(make_image: MakeImage) -> None:
    data = bytearray(make_image("GIF", (8, 6)))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert read(bytes(data)).width == 8
    at = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[at + 5 : at + 9] = struct.pack("<HH", 65535, 65535)
    assert read(bytes(data)).status == "too_large"


def test_comments_and_applications_of_a_gif_are_left_out(make_image: MakeImage) -> None:
    data = make_image("GIF")
    at = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    extra = b"\x21\xfe" + b"\1x" * 500_000 + b"\0" + b"\x21\xff\x0bXMP DataXMP" + b"\1x" * 500_000 + b"\0"
    with cpu_time_below(5):
        assert read(data[:at] + extra + data[at:]).status == "judged"
    (patch,) = read_container(data[:at] + extra + data[at:], "image/gif").patches
    assert len(patch.file()) <= len(data) + 768


def test_a_gif_of_very_many_frames_is_too_large_at_once(animation: Animation) -> None:
    data = animation("GIF", 2, size=(1, 1))
    start = data.rindex(b",", 0, len(data) - 1)
    bomb = data[:-1] + data[start:-1] * 200_000 + b";"
    with cpu_time_below(5):
        assert read(bomb).status == "too_large"


def test_a_gif_with_an_unknown_block_is_undecodable(make_image: MakeImage) -> None:
    assert read(make_image("GIF")[:-1] + b"?;").status == "undecodable"
    assert read(b"GIF89a" + bytes(7) + b";").status == "undecodable"


def test_an_animated_webp_is_measured_before_its_canvas_is_set_aside(animation: Animation) -> None:
    data = bytearray(animation("WEBP", 3))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    tracemalloc.start()
    try:
        image = read(bytes(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (image.status, image.width, image.height) == ("too_large", 16384, 16384)
    assert peak < MIB


@pytest.mark.parametrize("lossless", [True, False])
def test_both_still_kinds_of_webp_tell_their_size(lossless: bool, make_image: MakeImage) -> None:  # noqa: FBT001
    data = make_image("WEBP", (123, 45), lossless=lossless)
    assert (read_container(data, "image/webp").width, read_container(data, "image/webp").height) == (123, 45)


def test_a_webp_without_an_image_is_undecodable() -> None:
    assert read(b"RIFF\x10\0\0\0WEBPEXIF\4\0\0\0abcd").status == "undecodable"


def test_a_png_saved_with_text_still_decodes() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 100_000, zip=True)
    out = BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG", pnginfo=text)
    assert read(out.getvalue()).status == "judged"
