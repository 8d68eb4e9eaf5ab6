"""Image files that no encoder would write."""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_DC_BITS, _AC_BITS = 4, 8  # every symbol of a table has a code of this length: no table is looked up


def words(width: int, height: int) -> NDArray[np.bool_]:
    """Where the ink of a word is that fills a field of so many cells."""
    field = Image.new("L", (width, height))
    font = ImageFont.load_default(height * 0.6)
    ImageDraw.Draw(field).text((width / 2, height / 2), "WORDS", fill=255, anchor="mm", font=font)
    return np.asarray(field) > 127


def jpeg_beyond_levels(ink: NDArray[np.bool_]) -> bytes:
    """A grey JPEG of 8 × 8 pixels a cell whose blocks all have the same mean before levels are clipped to 0..255.

    Blocks of ink are stripes far beyond both ends, so that clipping makes them darker: 127 on 232. A decoder at a
    reduced scale that leaves the stripes out sees nothing.
    """
    rows, columns = ink.shape
    quantiser = bytes((8,)) * 64
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
        _segment(0xDB, b"\0" + quantiser),
        _segment(0xC0, frame),
        _segment(0xC4, dc_table),
        _segment(0xC4, ac_table),
        _segment(0xDA, bytes((1, 1, 0x00, 0, 63, 0))),
    )
    return b"\xff\xd8" + b"".join(segments) + scan + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
