"""Generated images, by what is special of them: each should be to the model as it is in a browser."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from tests.media import crafted
from tests.media.crafted import (
    GREY,
    GREY_ALPHA,
    P3_COLUMNS,
    RGB,
    RGBA,
    SRGB_COLUMNS,
    Bytes,
    chunk,
    encoded,
    grey_profile,
    icc,
    jpeg_beyond_levels,
    png,
    points,
    power,
    rgb_profile,
    segment,
    table_profile,
    words,
)

PNG, JPEG, GIF, WEBP, AVIF = "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"
_ROTATED_COLUMNS = (SRGB_COLUMNS[1], SRGB_COLUMNS[2], SRGB_COLUMNS[0])
_STEEP = points([0] * 200 + [0xFFFF] * 56)


def photo(width: int = 96, height: int = 64) -> Bytes:
    """Waves, edges and words in all levels."""
    across, down = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    levels = np.stack([127 + 100 * np.sin(20 * across + 9 * down), 255 * across, 255 * down], -1).astype(np.uint8)
    levels[words(width, height)] //= 2
    return levels


PROFILES: dict[str, bytes] = {
    "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "gamma of 2.2": rgb_profile(power(2.2)),
    "Display P3": rgb_profile(power(2.2), P3_COLUMNS),
    "linear": rgb_profile(power(1)),
    "gamma of 20": rgb_profile(power(20)),
    "one step": rgb_profile(_STEEP),
    "a step among 50,000 points": rgb_profile(points([0] * 40_000 + [0xFFFF] * 10_000)),
    "negative": rgb_profile(points([0xFFFF, 0])),
    "channels rotated": rgb_profile(power(2.2), _ROTATED_COLUMNS),
    "fifty times as light": rgb_profile(power(2.2), [[50 * value for value in xyz] for xyz in SRGB_COLUMNS]),
    "no colour": rgb_profile(power(2.2), [[0, 0, 0]] * 3),
    "a table": table_profile([0, 0xFFFF]),
    "a table with a step": table_profile([0] * 200 + [0xFFFF] * 56),
    "grey": grey_profile(power(1)),
    "of another space": table_profile([0, 0xFFFF], channels=4),
    "no profile": b"\0\0\2\0" + b"x" * 508,
    "cut": rgb_profile(power(1))[:-20],
    "an unknown curve": rgb_profile(b"xxxx" + bytes(20)),
    "a curve that falls without end": rgb_profile(power(-1)),
    "no tag": icc({}),
}

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[None], 8, 0)[..., None]
COLOURS = np.concatenate([GREYS, GREYS // 2, 255 - GREYS], -1)


def _profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


def _gamma(hundred_thousandths: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", hundred_thousandths))


def coloured_pngs() -> Iterator[tuple[str, bytes]]:
    """Profiles, gamma, primaries and numbers, on every kind of channels."""
    opaque = np.full_like(GREYS, 255)
    kinds: dict[str, tuple[Bytes, int]] = {
        "RGB": (COLOURS, RGB),
        "RGBA": (np.concatenate([COLOURS, GREYS[:, ::-1]], -1), RGBA),
        "grey": (GREYS, GREY),
        "grey and alpha": (np.concatenate([GREYS, opaque], -1), GREY_ALPHA),
    }
    for name, profile in PROFILES.items():
        for kind, (levels, number) in kinds.items():
            yield f"PNG, {kind}, profile: {name}", png(levels, number, _profile_chunk(profile))
    bad = _gamma(10_000)[:-4] + b"\0\0\0\0"
    swapped = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 30000, 60000, 64000, 33000, 15000, 6000))
    srgb = chunk(b"sRGB", b"\0")
    for gamma in (0, 1, 1000, 10_000, 45_455, 100_000, 1_000_000, 2**32 - 1):
        for kind, (levels, number) in kinds.items():
            yield f"PNG, {kind}, gamma of {gamma}", png(levels, number, _gamma(gamma))
    for name, before in {
        "gamma with a wrong checksum": (bad,),
        "two gammas": (_gamma(100_000), _gamma(10_000)),
        "sRGB and gamma": (srgb, _gamma(10_000)),
        "primaries alone": (swapped,),
        "primaries and gamma": (swapped, _gamma(45_455)),
        "sRGB and profile": (srgb, _profile_chunk(PROFILES["linear"])),
        "profile and gamma": (_profile_chunk(PROFILES["linear"]), _gamma(10_000)),
        "broken profile and gamma": (_profile_chunk(b"x" * 200), _gamma(100_000)),
        "profile of another space and gamma": (_profile_chunk(PROFILES["grey"]), _gamma(100_000)),
    }.items():
        yield f"PNG, {name}", png(COLOURS, RGB, *before)
    for primaries, transfer in ((1, 13), (1, 8), (9, 13), (12, 13), (12, 1), (1, 4), (1, 5), (2, 8), (1, 2), (77, 8)):
        numbers = chunk(b"cICP", bytes((primaries, transfer, 0, 1)))
        yield f"PNG, numbers {primaries}/{transfer}", png(COLOURS, RGB, numbers, _gamma(10_000))
    deep = COLOURS.astype(np.uint16) * 257
    yield "PNG of 16 bits, linear", png(deep, RGB, _gamma(100_000))
    grey = GREYS.astype(np.uint16) * 257
    yield "PNG, grey of 16 bits, a transparent level", png(grey, GREY, chunk(b"tRNS", struct.pack(">H", 128 * 257)))
    yield (
        "PNG, grey of 16 bits, near a transparent level",
        png(grey, GREY, chunk(b"tRNS", struct.pack(">H", 128 * 257 + 1))),
    )
    yield "PNG, a transparent colour", png(COLOURS, RGB, chunk(b"tRNS", struct.pack(">3H", 128, 64, 127)))


def palettes() -> Iterator[tuple[str, bytes]]:
    """Palettes with alphas, palettes that are too short, few bits."""
    rng = np.random.default_rng(2)
    for depth in (1, 2, 4, 8):
        row = b"\0" + rng.integers(0, 256, 64 * depth // 8, dtype=np.uint8).tobytes()
        few = rng.integers(0, 256, (2, 3), dtype=np.uint8).tobytes()
        whole = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8).tobytes()
        for name, kind, before in (
            ("grey", GREY, []),
            ("grey, white is transparent", GREY, [chunk(b"tRNS", struct.pack(">H", 2**depth - 1))]),
            ("palette", crafted.PALETTE, [chunk(b"PLTE", whole)]),
            ("palette with alpha", crafted.PALETTE, [chunk(b"PLTE", whole), chunk(b"tRNS", b"\x80\0\x40"[: 2**depth])]),
            ("palette of two", crafted.PALETTE, [chunk(b"PLTE", few)]),
            ("palette of two with alpha", crafted.PALETTE, [chunk(b"PLTE", few), chunk(b"tRNS", b"\xff\x40")]),
        ):
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 8, depth, kind, 0, 0, 0))
            body = chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")
            yield f"PNG of {depth} bits, {name}", b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + body


def jpegs() -> Iterator[tuple[str, bytes]]:
    """Sizes, subsampling, profiles in parts, colours by Adobe's marker, CMYK, orientations, cut ones."""
    for width, height in ((600, 400), (801, 203), (90, 333)):
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                data = encoded(
                    Image.fromarray(photo(width, height)),
                    "JPEG",
                    quality=90,
                    subsampling=subsampling,
                    progressive=progressive,
                )
                yield f"JPEG, {width} × {height}, subsampling {subsampling}, progressive {progressive}", data
    yield "JPEG, words beyond levels", jpeg_beyond_levels(words(128, 40))
    image = Image.fromarray(photo())
    for name, profile in PROFILES.items():
        yield f"JPEG, profile: {name}", encoded(image, "JPEG", quality=95, icc_profile=profile)
        yield f"JPEG, grey, profile: {name}", encoded(image.convert("L"), "JPEG", quality=95, icc_profile=profile)
        yield f"JPEG, CMYK, profile: {name}", encoded(image.convert("CMYK"), "JPEG", quality=95, icc_profile=profile)
    data, linear = encoded(image, "JPEG", quality=95), PROFILES["linear"]
    half = len(linear) // 2

    def part(number: int, total: int, body: bytes) -> bytes:
        return segment(0xE2, b"ICC_PROFILE\0" + bytes((number, total)) + body)

    parts = {
        "in two parts": [part(1, 2, linear[:half]), part(2, 2, linear[half:])],
        "in two parts, turned": [part(2, 2, linear[half:]), part(1, 2, linear[:half])],
        "without its second part": [part(1, 2, linear)],
        "with a part too many": [part(1, 1, linear), part(2, 1, linear)],
        "in parts that disagree": [part(1, 2, linear[:half]), part(2, 3, linear[half:])],
    }
    for name, before in parts.items():
        yield f"JPEG, profile {name}", data[:2] + b"".join(before) + data[2:]
    bare = data[:2] + data[20:]
    adobe = {number: segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes((number,))) for number in (0, 1)}
    for name, before in {
        "RGB": [adobe[0]],
        "RGB, after YCbCr": [adobe[1], adobe[0]],
        "YCbCr, after RGB": [adobe[0], adobe[1]],
        "RGB, before a short one": [adobe[0], segment(0xEE, b"Adobe\0\x64")],
    }.items():
        yield f"JPEG, by Adobe's marker: {name}", bare[:2] + b"".join(before) + bare[2:]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"JPEG, orientation {orientation}", encoded(image, "JPEG", quality=95, exif=exif.tobytes())
    yield "JPEG, progressive, without its end", encoded(image, "JPEG", quality=95, progressive=True)[:-2]


def others() -> Iterator[tuple[str, bytes, str]]:
    """WebP, AVIF and GIF."""
    image = Image.fromarray(photo())
    clear = Image.fromarray(np.concatenate([COLOURS, GREYS[:, ::-1]], -1))
    for name, profile in PROFILES.items():
        yield f"WebP, profile: {name}", encoded(image, "WEBP", lossless=True, icc_profile=profile), WEBP
        yield (
            f"AVIF, profile: {name}",
            encoded(image, "AVIF", quality=95, subsampling="4:4:4", icc_profile=profile),
            AVIF,
        )
    plain = encoded(image, "AVIF", quality=95, subsampling="4:4:4")
    at = plain.index(b"colrnclx") + 8
    for primaries, transfer in (
        (1, 13),
        (1, 8),
        (1, 4),
        (1, 5),
        (1, 1),
        (9, 13),
        (12, 13),
        (2, 8),
        (2, 2),
        (77, 8),
        (1, 77),
    ):
        numbers = struct.pack(">HH", primaries, transfer)
        yield f"AVIF, numbers {primaries}/{transfer}", plain[:at] + numbers + plain[at + 4 :], AVIF
    yield "WebP, alpha", encoded(clear, "WEBP", lossless=True, exact=True), WEBP
    yield "WebP, lossy", encoded(image, "WEBP", quality=90), WEBP
    stripes = Image.fromarray(np.concatenate([COLOURS, (GREYS & 0x40) // 0x40 * 255], -1))
    yield "AVIF, alpha", encoded(stripes, "AVIF", quality=100), AVIF  # Chromium stretches what lies between
    palette = np.random.default_rng(4).integers(0, 256, (16, 3), dtype=np.uint8)
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16) % 16
    yield "GIF", crafted.gif(16, 16, palette, [(indices, 0, 0, 0, None)]), GIF
    yield "GIF, a transparent colour", crafted.gif(16, 16, palette, [(indices, 0, 0, 0, 3)]), GIF
    yield "GIF, smaller than its screen", crafted.gif(24, 20, palette, [(indices, 3, 2, 0, None)]), GIF
    yield "GIF, larger than its screen", crafted.gif(8, 8, palette, [(indices, 0, 0, 0, None)]), GIF
    short = crafted.gif(16, 16, palette[:2], [(indices, 0, 0, 0, None)])
    yield "GIF with too few colours", short[:10] + b"\x80" + short[11:], GIF


def every() -> Iterator[tuple[str, bytes, str]]:
    """Name, file and media type of all."""
    yield from ((name, data, PNG) for name, data in coloured_pngs())
    yield from ((name, data, PNG) for name, data in palettes())
    yield from ((name, data, JPEG) for name, data in jpegs())
    yield from others()
