"""Image files made by hand, as encoders don't write them."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Bytes = NDArray[np.uint8]

_DC_BITS, _AC_BITS = 4, 8  # every symbol of a table has a code of this length: no table is looked up
D50 = (0.9642, 1.0, 0.8249)
SRGB_COLUMNS = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))  # XYZ of red, green, blue
P3_COLUMNS = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
RGBA, RGB, GREY, GREY_ALPHA, PALETTE = 6, 2, 0, 4, 3  # PNG's kinds of colour


def words(width: int, height: int) -> NDArray[np.bool_]:
    """Where the ink of a word is that fills a field of so many cells."""
    field = Image.new("L", (width, height))
    font = ImageFont.load_default(height * 0.6)
    ImageDraw.Draw(field).text((width / 2, height / 2), "WORDS", fill=255, anchor="mm", font=font)
    return np.asarray(field) > 127


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image's file."""
    out = BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(levels: NDArray[np.uint8] | NDArray[np.uint16], kind: int, *before: bytes) -> bytes:
    """A PNG of 8 or 16 bits, levels [height, width, channels], with chunks ahead of its data."""
    height, width, _ = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * levels.itemsize, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", _rows(levels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def apng(width: int, height: int, frames: Sequence[tuple[Bytes, int, int, int, int]]) -> bytes:
    """Frames of RGBA levels, left, top, dispose and blend; the first fills the canvas."""
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, RGBA, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", len(frames), 0)),
    ]
    for number, (levels, left, top, dispose, blend) in enumerate(frames):
        control = (max(0, 2 * number - 1), levels.shape[1], levels.shape[0], left, top, 1, 10, dispose, blend)
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", *control)))
        data = _rows(levels)
        parts.append(chunk(b"fdAT", struct.pack(">I", 2 * number) + data) if number else chunk(b"IDAT", data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def gif(width: int, height: int, palette: Bytes, frames: Sequence[tuple[Bytes, int, int, int, int | None]]) -> bytes:
    """Frames of palette indices, left, top, disposal and the transparent index, on a screen; 16 colours [16, 3]."""
    out = b"GIF89a" + struct.pack("<HH", width, height) + b"\x83\0\0" + palette.tobytes()
    for indices, left, top, disposal, transparent in frames:
        image = Image.frombytes("P", indices.shape[::-1], indices.tobytes())
        image.putpalette(bytes(range(256)) * 3)  # all colours differ, so that none is taken for another
        alone = encoded(image, "GIF", optimize=False)
        data = alone[alone.index(b",", 13 + (3 << (alone[10] & 7) + 1)) + 10 : -1]
        flags = disposal << 2 | (transparent is not None)
        out += b"\x21\xf9\4" + bytes((flags, 5, 0, transparent or 0, 0))
        out += b"," + struct.pack("<HHHHB", left, top, indices.shape[1], indices.shape[0], 0) + data
    return out + b";"


def power(exponent: float) -> bytes:
    """A profile's curve."""
    return b"para\0\0\0\0\0\0\0\0" + _fixed(exponent)


def points(values: Sequence[int]) -> bytes:
    """A profile's curve by values of 16 bits, evenly spaced."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def icc(tags: dict[bytes, bytes], space: bytes = b"RGB ", pcs: bytes = b"XYZ ") -> bytes:
    """A profile of these tags."""
    index, body, at = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        index += name + struct.pack(">II", at + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x", at + len(body), 0x04300000, b"mntr", space, pcs, b"acsp")
    return head + _fixed(*D50) + bytes(48) + struct.pack(">I", len(tags)) + index + body


def rgb_profile(curve: bytes, columns: Sequence[Sequence[float]] = SRGB_COLUMNS) -> bytes:
    """A profile of a matrix and one curve for all channels."""
    tags = {
        name: b"XYZ \0\0\0\0" + _fixed(*xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    return icc({**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def grey_profile(curve: bytes) -> bytes:
    """A profile of grey."""
    return icc({b"kTRC": curve}, b"GRAY")


def table_profile(curve: Sequence[int], channels: int = 3) -> bytes:
    """A profile by a table (A2B0) to Lab: lightness by the mean of the channels, of ink where there are four."""
    corners = np.indices((2,) * channels).reshape(channels, -1).T
    light = 1 - corners.mean(1) if channels == 4 else corners.mean(1)
    lab = np.stack([light * 0xFF00, *[np.full(len(light), 0x8000)] * 2], -1).astype(">u2")
    ends = np.array([0, 0xFFFF] * 3, ">u2")
    table = b"mft2\0\0\0\0" + bytes((channels, 3, 2, 0)) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += struct.pack(">HH", len(curve), 2) + np.array([*curve] * channels, ">u2").tobytes()
    return icc({b"A2B0": table + lab.tobytes() + ends.tobytes()}, b"CMYK" if channels == 4 else b"RGB ", b"Lab ")


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_beyond_levels(ink: NDArray[np.bool_]) -> bytes:
    """A grey JPEG of 8 × 8 pixels a cell whose blocks all have the same mean before levels are clipped to 0..255.

    Blocks of ink are stripes far beyond both ends, so that clipping makes them darker: 127 on 232. A decoder at a
    reduced scale that leaves the stripes out sees nothing.
    """
    rows, columns = ink.shape
    frame = struct.pack(">BHHBBBB", 8, rows * 8, columns * 8, 1, 1, 0x11, 0)
    dc_table = bytes((0x00, *(12 if length == _DC_BITS else 0 for length in range(1, 17)), *range(12)))
    symbols = [run << 4 | size for run in range(16) for size in range(11)]
    ac_table = bytes((0x10, *(len(symbols) if length == _AC_BITS else 0 for length in range(1, 17)), *symbols))
    stripes, zigzag = 2960 // 8, 14  # the coefficient (0, 4), which even half the scale leaves out
    code = {symbol: format(number, "08b") for number, symbol in enumerate(symbols)}
    end = code[0x00]
    marked = code[(zigzag - 1) << 4 | stripes.bit_length()] + format(stripes, "b") + end
    same, first = "0000", format(7, "04b") + format((232 - 128) * 8 // 8, "07b")
    body = "".join(same + (marked if cell else end) for cell in ink.flat)
    bits = first + body.removeprefix(same)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    segments = (
        segment(0xDB, b"\0" + bytes((8,)) * 64),
        segment(0xC0, frame),
        segment(0xC4, dc_table),
        segment(0xC4, ac_table),
        segment(0xDA, bytes((1, 1, 0x00, 0, 63, 0))),
    )
    return b"\xff\xd8" + b"".join(segments) + scan + b"\xff\xd9"


def _rows(levels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    data = levels.astype(levels.dtype.newbyteorder(">"))
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in data))


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
