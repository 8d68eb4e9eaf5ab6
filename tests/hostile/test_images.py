"""The hostile image set, through the loader as a post's images: each an outcome of its own, none an error."""

import base64
import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO

import pytest
from PIL import Image

from moderation_service.contracts.enums import ImageStatus
from moderation_service.contracts.post import ImageRef
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MIB, MediaSettings
from tests.hostile.costly_images import encoded, png
from tests.judging.conftest import Ask, MakeJudge, ask, engine, make_judge, pack
from tests.judging.engines import RuleEngine
from tests.timing import cpu_time_below

__all__ = ["ask", "engine", "make_judge", "pack"]  # fixtures of the judge, used here

LONGEST_S = 8.0  # of CPU; a fifth of it is the costliest found, SECURITY.md
SMALL = Image.new("RGB", (24, 16), "red")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    whole = encoded(SMALL, "PNG")
    return whole[:33] + chunk(kind, body) + whole[33:]


@cache
def bomb() -> bytes:
    return zlib.compress(bytes(300 * MIB), 9)


def announcing(width: int, height: int) -> bytes:
    whole = encoded(SMALL, "PNG")
    return whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + whole[33:]


def many_frames(kind: str, count: int) -> bytes:
    frames = [Image.new("RGB", (16, 16), (at % 256, 0, 0)) for at in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)


def gif_of_two_hundred_thousand_frames() -> bytes:
    whole = many_frames("GIF", 2)
    start = whole.rindex(b",", 0, len(whole) - 1)
    return whole[:-1] + whole[start:-1] * (4 * MIB // (len(whole) - 1 - start)) + b";"


HOSTILE: dict[str, tuple[Callable[[], bytes], ImageStatus]] = {
    "nothing": (lambda: b"", "undecodable"),
    "one byte": (lambda: b"\xff", "undecodable"),
    "zeros": (lambda: bytes(5 * MIB), "undecodable"),
    "HTML": (lambda: b"<!doctype html><img src=x onerror=alert(1)>", "undecodable"),
    "SVG with a script": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "unsupported"),
    "SVG with entities": (
        lambda: b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>',
        "unsupported",
    ),
    "SVG that reads a file": (
        lambda: b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "unsupported",
    ),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "unsupported"),
    "BMP": (lambda: encoded(SMALL, "BMP"), "unsupported"),
    "ICO": (lambda: encoded(SMALL, "ICO"), "unsupported"),
    "TIFF of 500 frames, called a JPEG": (lambda: many_frames("TIFF", 500), "unsupported"),
    "PDF": (lambda: encoded(SMALL, "PDF"), "unsupported"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n", "undecodable"),
    "a cut JPEG": (lambda: encoded(SMALL, "JPEG")[:200], "undecodable"),
    "a cut PNG": (lambda: encoded(SMALL, "PNG")[:45], "undecodable"),
    "a JPEG behind a PNG's first bytes": (lambda: b"\x89PNG\r\n\x1a\n" + encoded(SMALL, "JPEG"), "undecodable"),
    "a GIF that is a script too": (lambda: encoded(SMALL, "GIF") + b"*/=alert(1);", "judged"),
    "a JPEG that is an archive too": (lambda: encoded(SMALL, "JPEG") + b"PK\x05\x06" + bytes(18), "judged"),
    "PNG, 4 billion pixels": (lambda: announcing(65_535, 65_535), "too_large"),
    "PNG, no pixel": (lambda: announcing(0, 7), "undecodable"),
    "PNG, zTXt of 300 MiB": (lambda: with_chunk(b"zTXt", b"k\0\0" + bomb()), "judged"),
    "PNG, iTXt of 300 MiB": (lambda: with_chunk(b"iTXt", b"k\0\1\0\0\0" + bomb()), "judged"),
    "PNG, iCCP of 300 MiB": (lambda: with_chunk(b"iCCP", b"p\0\0" + bomb()), "judged"),
    "PNG, 40 million pixels of nothing": (lambda: png(16, 6, 4, interlaced=True), "judged"),
    "APNG of 3,000 frames": (lambda: many_frames("PNG", 3000), "judged"),
    "GIF, a frame of 4 billion pixels": (lambda: _gif_frame(65_535, 65_535), "too_large"),
    "GIF of 200,000 frames": (gif_of_two_hundred_thousand_frames, "too_large"),
    "WebP of 600 frames": (lambda: many_frames("WEBP", 600), "judged"),
    "CMYK": (lambda: encoded(Image.new("CMYK", (24, 16)), "JPEG"), "judged"),
    "grey with alpha": (lambda: encoded(Image.new("LA", (24, 16)), "PNG"), "judged"),
    "16 bits": (lambda: encoded(Image.new("I;16", (24, 16)), "PNG"), "judged"),
    "one bit": (lambda: encoded(Image.new("1", (24, 16)), "PNG"), "judged"),
    "palette with transparency": (lambda: encoded(Image.new("P", (24, 16)), "PNG", transparency=0), "judged"),
}


def _gif_frame(width: int, height: int) -> bytes:
    whole = bytearray(encoded(SMALL, "GIF"))
    at = whole.index(b",", 13 + 3 * 2 ** ((whole[10] & 7) + 1))
    whole[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(whole)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_image_is_an_outcome_and_costs_seconds_at_most(name: str) -> None:
    make, status = HOSTILE[name]
    data = make()
    assert len(data) <= MediaSettings().max_bytes
    reference = ImageRef(data=base64.b64encode(data).decode() or "=", media_type="image/jpeg")
    async with ImageLoader(MediaSettings()) as loader:
        with cpu_time_below(LONGEST_S):
            (image,) = (await loader.load([reference])).images
    assert image.status == status
    assert bool(image.frames) == (status == "judged")
    assert len(image.frames) <= MediaSettings().max_frames


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
async def test_a_violation_in_a_later_frame_is_found(
    kind: str, make_judge: MakeJudge, engine: RuleEngine, ask: Ask
) -> None:
    frames = [Image.new("RGB", (32, 32), "white")] * 9 + [Image.new("RGB", (32, 32), "red")]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    out = BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=list(range(40, 50)), **options)
    engine.rule = lambda policy_id, request: (
        0.95 if policy_id == "weapon_sale" and any(frame[0, 0, 1] < 128 for frame in request.images) else 0.01
    )
    reference = ImageRef(data=base64.b64encode(out.getvalue()).decode())
    verdict = await ask(await make_judge(), "for you", reference)
    assert verdict.decision == "block"
    assert verdict.content.images[0].frames > 1
