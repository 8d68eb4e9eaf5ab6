import struct
import zlib
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from moderation_service.media.decode import decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MediaSettings
from tests.media.crafted import jpeg_beyond_levels, words

MakeImage = Callable[..., bytes]
Animation = Callable[..., bytes]

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "AVIF": "image/avif"}

pytestmark = pytest.mark.timeout(60)


def read(data: bytes, **changes: Any) -> LoadedImage:
    return decode(data, MediaSettings(**changes))


def colour(image: LoadedImage, y: int = 0, x: int = 0) -> list[int]:
    assert image.status == "judged"
    return [int(level) for level in image.frames[0][y, x]]


def near(image: LoadedImage, expected: tuple[int, int, int], y: int = 0, x: int = 0, within: int = 6) -> bool:
    return all(abs(one - other) <= within for one, other in zip(colour(image, y, x), expected, strict=True))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, kind: int, raw: bytes, *before: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + data + chunk(b"IEND", b"")


def test_the_wheels_of_pillow_decode_every_format_of_the_allow_list() -> None:
    assert features.check("webp")
    assert features.check("avif")


@pytest.mark.parametrize(("kind", "media_type"), FORMATS.items())
def test_each_format_becomes_contiguous_rgb_bytes(kind: str, media_type: str, make_image: MakeImage) -> None:
    data = make_image(kind, (40, 30), (200, 30, 60), **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}))
    image = read(data)
    assert (image.status, image.media_type, image.width, image.height) == ("judged", media_type, 40, 30)
    assert image.sha256 == sha256(data).hexdigest()
    (frame,) = image.frames
    assert (frame.dtype, frame.shape, frame.flags.c_contiguous, frame.flags.writeable) == (
        np.uint8,
        (30, 40, 3),
        True,
        False,  # every view of the post reads them
    )
    assert near(image, (200, 30, 60), 15, 20)


def test_a_large_image_is_scaled_to_the_longer_side_and_a_small_one_is_left(make_image: MakeImage) -> None:
    for kind in FORMATS:
        assert read(make_image(kind, (400, 100)), max_side=200).frames[0].shape == (50, 200, 3)
        assert read(make_image(kind, (100, 400)), max_side=200).frames[0].shape == (200, 50, 3)
        assert read(make_image(kind, (20, 10)), max_side=200).frames[0].shape == (10, 20, 3)
    assert read(make_image("PNG", (3000, 1)), max_side=100).frames[0].shape == (1, 100, 3)
    assert read(make_image("PNG", (1, 1))).frames[0].shape == (1, 1, 3)
    large = read(make_image("JPEG", (4000, 3000)))
    assert (large.width, large.height, large.frames[0].shape) == (4000, 3000, (768, 1024, 3))


def drawn(width: int, height: int) -> Image.Image:
    """Waves and edges, coarse enough for a small image to show them."""
    across, down = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    levels = [127 + 80 * np.sin(20 * across + 9 * down), 255 * ((8 * across + 5 * down) % 2 > 1), 255 * down]
    return Image.fromarray(np.stack(levels, -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(2048, 1536), (1800, 2400), (4000, 1001)])
def test_a_large_jpeg_is_what_the_whole_of_it_shows(size: tuple[int, int]) -> None:
    data = encoded(drawn(*size), "JPEG", quality=90)
    (frame,) = read(data, max_side=512).frames
    whole = Image.open(BytesIO(data))
    whole.load()
    whole.thumbnail((512, 512), Image.Resampling.BICUBIC)
    away = np.abs(frame.astype(int) - np.asarray(whole).astype(int))
    assert frame.shape == (*whole.size[::-1], 3)
    assert away.mean() < 1


@pytest.mark.parametrize("max_side", [96, 250, 500, 1024, 3000])
def test_words_that_a_jpeg_at_a_reduced_scale_does_not_show_are_seen(max_side: int) -> None:
    """Their blocks have the mean of blank ones, and are darker once levels are clipped."""
    ink = words(256, 64)
    (frame,) = read(jpeg_beyond_levels(ink), max_side=max_side).frames
    seen = Image.fromarray(frame).convert("L")
    wanted = Image.fromarray(np.where(ink, 127, 232).astype(np.uint8)).resize(seen.size, Image.Resampling.BOX)
    away = np.asarray(seen.reduce(2), float) - np.asarray(wanted.reduce(2), float)
    assert np.abs(away).mean() < 4
    assert np.ptp(np.asarray(seen.reduce(2))) > 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    stored = Image.new("RGB", (64, 32), "black")
    stored.paste((255, 255, 255), (0, 0, 16, 16))  # a white corner: where it lands tells the turn
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read(encoded(stored, kind, exif=exif.tobytes(), quality=95))
    upright = (image.height, image.width) == (32, 64)
    assert upright == (orientation < 5)
    assert image.frames[0].shape == (image.height, image.width, 3)
    corners = {(y, x): colour(image, y, x)[0] > 128 for y in (0, -1) for x in (0, -1)}
    expected = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert [corner for corner, white in corners.items() if white] == [expected[orientation]]


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0garbage" * 9, b"II*\0"])
def test_broken_exif_is_no_exif(exif: bytes, make_image: MakeImage) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        assert read(make_image(kind, (30, 20), exif=exif)).width == 30


def test_an_orientation_that_is_none_is_ignored(make_image: MakeImage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert read(make_image("JPEG", (30, 20), exif=exif.tobytes())).frames[0].shape == (20, 30, 3)


def test_cmyk_has_its_colours_right() -> None:
    for cmyk, rgb in (((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))):
        image = read(encoded(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=95))
        assert near(image, rgb)


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (0x00FF, 0), (0x8000, 0x80), (0xFFFF, 255)])
def test_sixteen_bits_keep_their_upper_eight(level: int, expected: int) -> None:
    pixel = struct.pack(">H", level)
    opaque = b"\xff\xff"
    grey = read(png(2, 1, 16, 0, b"\0" + pixel * 2))
    grey_alpha = read(png(2, 1, 16, 4, b"\0" + (pixel + opaque) * 2))
    rgb = read(png(2, 1, 16, 2, b"\0" + pixel * 6))
    rgba = read(png(2, 1, 16, 6, b"\0" + (pixel * 3 + opaque) * 2))
    for image in (grey, grey_alpha, rgb, rgba):
        assert colour(image) == [expected] * 3


def test_alpha_lies_over_white() -> None:
    clear, half = (0, 0, 0, 0), (0, 0, 0, 128)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 100})):
        for rgba, level in ((clear, 255), (half, 127)):
            assert near(read(encoded(Image.new("RGBA", (16, 16), rgba), kind, **options)), (level,) * 3)
    assert near(read(encoded(Image.new("LA", (4, 4), (0, 128)), "PNG")), (127,) * 3)


def test_palettes_and_their_transparency_are_right() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 255, 255, 128, 0])
    assert colour(read(encoded(palette, "PNG"))) == [255, 128, 0]
    assert colour(read(encoded(palette, "GIF"))) == [255, 128, 0]
    assert colour(read(encoded(palette, "PNG", transparency=1))) == [255, 255, 255]
    assert colour(read(encoded(palette, "PNG", transparency=b"\xff\x00"))) == [255, 255, 255]
    assert colour(read(encoded(palette, "GIF", transparency=1))) == [255, 255, 255]


def test_a_transparent_colour_of_rgb_or_grey_is_right() -> None:
    assert colour(read(encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7)))) == [255] * 3
    assert colour(read(encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9))) == [255] * 3


def test_bilevel_images_are_shrunk_smoothly() -> None:
    squares = Image.fromarray(np.indices((64, 64)).sum(0) % 2 == 1)
    assert near(read(encoded(squares, "PNG"), max_side=8), (127,) * 3, 4, 4, within=20)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize(
    ("frames", "limit", "expected"), [(1, 4, [0]), (3, 4, [0, 1, 2]), (10, 4, [0, 3, 6, 9]), (10, 1, [0])]
)
def test_frames_are_evenly_spaced_from_the_first_to_the_last(
    kind: str, frames: int, limit: int, expected: list[int], animation: Animation
) -> None:
    options = {"quality": 100} if kind == "AVIF" else {"lossless": True} if kind == "WEBP" else {}
    image = read(animation(kind, frames, **options), max_frames=limit)
    assert (image.status, image.media_type) == ("judged", FORMATS[kind])
    assert [round(float(frame.mean()) / 10) for frame in image.frames] == expected


def test_each_frame_of_an_animation_is_shrunk(animation: Animation) -> None:
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        image = read(animation(kind, 5, size=(320, 160)), max_side=64)
        assert [frame.shape for frame in image.frames] == [(32, 64, 3)] * 4
        assert all(one.mean() < other.mean() for one, other in pairwise(image.frames))


def test_a_second_image_behind_a_jpeg_is_not_a_frame() -> None:
    data = encoded(Image.new("RGB", (8, 8)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "white")])
    image = read(data)
    assert (image.media_type, len(image.frames), near(image, (0, 0, 0))) == ("image/jpeg", 1, True)


@pytest.mark.parametrize("kind", FORMATS)
def test_more_pixels_than_the_cap_are_too_large(kind: str, make_image: MakeImage) -> None:
    data = make_image(kind, (100, 50))
    assert read(data, max_pixels=5000).status == "judged"
    image = read(data, max_pixels=4999)
    assert (image.status, image.width, image.height, image.frames) == ("too_large", 100, 50, ())
    assert image.sha256 == sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_more_pixels_in_all_frames_than_the_budget_are_too_large(kind: str, animation: Animation) -> None:
    data = animation(kind, 12, size=(200, 200))
    assert read(data, max_pixels=120_000, max_frames=4).status == "judged"
    assert read(data, max_pixels=119_999, max_frames=4).status == "too_large"
    assert read(data, max_pixels=40_000, max_frames=1).status == "judged"


def test_many_small_frames_count_as_work(animation: Animation) -> None:
    assert read(animation("GIF", 20, size=(2, 2)), max_pixels=64 * 1024).status == "too_large"


@pytest.mark.parametrize("kind", sorted(FORMATS.keys() - {"JPEG"}))
def test_a_cut_file_is_undecodable(kind: str) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert read(data).status == "judged"
    for size in (len(data) // 2, len(data) // 4, 64, 20, 12):
        assert read(data[:size]).status == "undecodable", size


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"GIF", b"\xff\xd8\xff", b"hello, world", b"<html><p>no</p></html>", b"RIFF"]
)
def test_what_is_no_image_is_undecodable(data: bytes) -> None:
    image = read(data)
    assert (image.status, image.frames, image.sha256) == ("undecodable", (), sha256(data).hexdigest())


@pytest.mark.parametrize("kind", FORMATS)
def test_random_damage_never_raises(kind: str, make_image: MakeImage) -> None:
    data, random = make_image(kind, (48, 48)), np.random.default_rng(11)
    for _ in range(60):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 4):
            damaged[at] = random.integers(0, 256)
        assert read(bytes(damaged), max_pixels=100_000).status in ("judged", "undecodable", "too_large", "unsupported")


def test_a_polyglot_is_what_its_first_bytes_say(make_image: MakeImage) -> None:
    for kind, media_type in FORMATS.items():
        tail = b"PK\x03\x04" + b"<script>alert(1)</script>" + make_image("PNG", (9, 9))
        image = read(make_image(kind, (20, 10)) + tail)
        assert (image.status, image.media_type, image.width) == ("judged", media_type, 20)


def test_pillow_is_not_asked_to_guess(make_image: MakeImage) -> None:
    tga_like = b"\x89PNG\r\n\x1a\n" + make_image("TGA", (9, 9))
    assert read(tga_like).status == "undecodable"
    assert read(make_image("TGA", (9, 9))).status == "undecodable"
    assert read(make_image("PPM", (9, 9))).status == "undecodable"


def test_the_process_keeps_its_own_pixel_limit(make_image: MakeImage) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    huge = png(20_000, 20_000, 8, 0, b"")
    assert read(huge).status == "too_large"
    assert read(huge, max_pixels=20_000**2).status == "undecodable"  # and not a warning of Pillow's
    assert read(make_image()).status == "judged"
    assert limit == Image.MAX_IMAGE_PIXELS
