"""The costliest images found that pass every cap: `python -m tests.hostile.costly_images` prints their times.

Each is near `max_pixels`, or worth `max_pixels` × `max_frames` of decoding, in no more than `max_bytes`.
"""

import struct
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from PIL import Image

from moderation_service.media.decode import decode
from moderation_service.settings import MediaSettings

WIDE, HIGH = 8000, 5000  # 40 million pixels
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PAETH = b"\x04"


def noise(scale: int, mode: str = "RGB", size: tuple[int, int] = (WIDE, HIGH), seed: int = 7) -> Image.Image:
    """Random blocks of `scale` pixels a side: as much detail as the bytes allow."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (-(-size[1] // scale), -(-size[0] // scale), channels)
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    whole = levels.repeat(scale, 0).repeat(scale, 1)[: size[1], : size[0]]
    return Image.frombuffer(mode, size, np.ascontiguousarray(whole).tobytes(), "raw", mode, 0, 1)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image's file."""
    out = BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def largest(make: Callable[[int], bytes], scale: int = 1) -> bytes:
    """The most detailed of `make(scale)`, `make(2 * scale)`, `make(4 * scale)` … that fits in `max_bytes`."""
    while len(data := make(scale)) > MediaSettings().max_bytes:
        scale *= 2
    return data


def png(depth: int, kind: int, channels: int, *, interlaced: bool) -> bytes:
    """40 million pixels of nothing in a few kilobytes, every row by the dearest filter."""
    width = depth * channels
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    packer, packed = zlib.compressobj(9), bytearray()
    for left, top, across, down in passes:
        row = _PAETH + bytes(-(-(-(-(WIDE - left) // across) * width) // 8))
        for _ in range(-(-(HIGH - top) // down)):
            packed += packer.compress(row)
    packed += packer.flush()
    header = struct.pack(">IIBBBBB", WIDE, HIGH, depth, kind, 0, 0, int(interlaced))
    palette = [_chunk(b"PLTE", bytes(range(256)) * 3), _chunk(b"tRNS", bytes(range(256)))] if kind == 3 else []
    body = [_chunk(b"IHDR", header), *palette, _chunk(b"IDAT", bytes(packed)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def animated(kind: str, side: int, mode: str = "RGBA", **options: object) -> bytes:
    """As many frames of `side` squared pixels as four images of 40 million pixels are worth."""
    settings = MediaSettings()
    count = settings.max_pixels * settings.max_frames // side**2

    def make(scale: int) -> bytes:
        two = [noise(scale, mode, (side, side), seed) for seed in range(2)]
        frames = [two[number % 2] for number in range(count)]
        return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **options)

    return largest(make, side // 32)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


COSTLY: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: largest(lambda scale: encoded(noise(scale), "JPEG", quality=30, subsampling=0)),
    "JPEG, progressive": lambda: largest(
        lambda scale: encoded(noise(scale), "JPEG", quality=30, subsampling=0, progressive=True)
    ),
    "JPEG, progressive, CMYK": lambda: largest(
        lambda scale: encoded(noise(scale, "CMYK"), "JPEG", quality=30, progressive=True)
    ),
    "PNG, RGBA of 16 bits": lambda: png(16, 6, 4, interlaced=False),
    "PNG, RGBA of 16 bits, interlaced": lambda: png(16, 6, 4, interlaced=True),
    "PNG, grey of 16 bits, interlaced": lambda: png(16, 0, 1, interlaced=True),
    "PNG, palette with alpha, interlaced": lambda: png(8, 3, 1, interlaced=True),
    "PNG, one bit, interlaced": lambda: png(1, 0, 1, interlaced=True),
    "PNG, animated": lambda: animated("PNG", 2000),
    "PNG, animated, many small frames": lambda: animated("PNG", 128),
    "GIF, animated": lambda: animated("GIF", 2000, "P"),
    "WebP, lossy with alpha": lambda: largest(
        lambda scale: encoded(noise(scale, "RGBA"), "WEBP", quality=50, method=0)
    ),
    "WebP, lossless": lambda: largest(lambda scale: encoded(noise(scale), "WEBP", lossless=True, quality=0, method=0)),
    "WebP, animated": lambda: animated("WEBP", 1000, quality=30, method=0),
    "WebP, animated, lossless": lambda: animated("WEBP", 2000, lossless=True, quality=0, method=0),
    "AVIF": lambda: largest(lambda scale: encoded(noise(scale), "AVIF", quality=50, speed=10, subsampling="4:4:4")),
    "AVIF with alpha": lambda: largest(
        lambda scale: encoded(noise(scale, "RGBA"), "AVIF", quality=50, speed=10, subsampling="4:4:4")
    ),
    "AVIF, animated": lambda: animated("AVIF", 2000, quality=50, speed=10),
    "AVIF, animated, many small frames": lambda: animated("AVIF", 128, quality=50, speed=10),
}


def measure(data: bytes) -> tuple[str, float, float, int]:
    """Status, seconds, seconds of CPU, and the process's most memory in MiB."""
    begun, worked = perf_counter(), process_time()
    image = decode(data, MediaSettings())
    took, work = perf_counter() - begun, process_time() - worked
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return image.status, took, work, int(peak.split()[1]) // 1024


def main(wanted: list[str]) -> None:
    """Measure each in a process of its own, whose peak of memory is its own too."""
    print(f"{'picture':<38}{'KiB':>7}{'status':>12}{'s':>8}{'CPU s':>8}{'MiB':>7}")  # noqa: T201
    for name, make in COSTLY.items():
        if not wanted or any(word in name for word in wanted):
            data = make()
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:
                status, took, work, memory = apart.submit(measure, data).result()
            size = len(data) // 1024
            print(f"{name:<38}{size:>7}{status:>12}{took:>8.2f}{work:>8.2f}{memory:>7}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
