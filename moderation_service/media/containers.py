"""A picture's container, read before any decoder sees it.

Tells size, frames and scans from the bytes, and leaves out what is not picture (text, colour profiles, comments,
further previews): those parts hold the cheapest bombs, and nothing here reads them. Malformed containers raise
ValueError or IndexError.
"""

from dataclasses import dataclass

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_JPEG_ONCE = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}
_JPEG_EXIF = 0xE1, b"Exif\0\0"
_JPEG_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_JPEG_SCAN = 0xDA
_JPEG_END = 0xD9
_PNG_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"acTL"})
_PNG_MANY = frozenset({b"IDAT", b"fcTL", b"fdAT"})
_GIF_CONTROL = 0xF9
_MAX_U14 = 0x3FFF


@dataclass(frozen=True, slots=True)
class Container:
    """`data` is what the decoder gets; `frames` and `scans` are at least 1; sizes are in pixels, as stored.

    `exif` is set where it was taken out of `data`.
    """

    data: bytes
    width: int
    height: int
    frames: int = 1
    scans: int = 1
    exif: bytes = b""


def jpeg(data: bytes) -> Container:  # noqa: C901 - one walk, a branch a marker
    """Tables, one size and the colour markers; then the scans as they are. The first EXIF block is apart."""
    kept, exif, at = bytearray(data[:2]), b"", 2
    seen: set[int] = set()
    size: tuple[int, int] | None = None
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:  # noqa: PLR2004 - a marker may be padded
            at += 1
        marker, at = data[at], at + 1
        if marker in _JPEG_BARE:
            continue
        length = int.from_bytes(data[at : at + 2])
        if marker == _JPEG_END or length < 2 or at + length > len(data):  # noqa: PLR2004 - it counts itself
            msg = "no scan"
            raise ValueError(msg)
        segment = bytes((0xFF, marker)) + data[at : at + length]
        if marker == _JPEG_SCAN:
            if size is None:
                msg = "a scan before a size"
                raise ValueError(msg)
            # Entropy-coded data never holds this pair, so each one is a scan.
            scans = 1 + data.count(b"\xff\xda", at)
            return Container(bytes(kept + b"\xff\xda" + data[at:]), *size, scans=scans, exif=exif)
        if marker in _JPEG_SIZES:
            if size is not None:
                msg = "two sizes"
                raise ValueError(msg)
            size = int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7])
            kept += segment
        elif marker in _JPEG_TABLES:
            kept += segment
        elif marker in _JPEG_ONCE and marker not in seen and segment[4:].startswith(_JPEG_ONCE[marker]):
            seen.add(marker)
            kept += segment
        elif not exif and marker == _JPEG_EXIF[0] and segment[4:].startswith(_JPEG_EXIF[1]):
            exif = segment[4:]
        at += length


def png(data: bytes) -> Container:
    """The first header and palette, picture data, animation control and EXIF."""
    if data[12:16] != b"IHDR":
        msg = "no header"
        raise ValueError(msg)
    kept, at = bytearray(data[:8]), 8
    seen: set[bytes] = set()
    controls = 0
    still_first = False
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        animated = b"acTL" in seen
        # Animation control counts only ahead of the picture data; fdAT and fcTL without it are noise.
        wanted = kind in _PNG_ONCE and kind not in seen and not (kind == b"acTL" and b"IDAT" in seen)
        wanted |= kind in _PNG_MANY and length > 0 and (kind == b"IDAT" or animated)
        if wanted or kind == b"IEND":
            kept += data[at:end]
        if wanted:
            still_first |= kind == b"IDAT" and animated and not controls
            controls += kind == b"fcTL"
            seen.add(kind)
        at = end
        if kind == b"IEND":
            break
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    return Container(bytes(kept), width, height, frames=max(1, controls + still_first))


def gif(data: bytes) -> Container:
    """Pictures and their control blocks; the size takes in every frame, also those beyond the screen."""
    at = 13 + _gif_palette(data[10])
    kept = bytearray(data[:at])
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    frames = 0
    while at < len(data) and data[at] != 0x3B:  # noqa: PLR2004 - the trailer; browsers do without it
        start, introducer = at, data[at]
        if introducer == 0x2C:  # noqa: PLR2004 - a picture
            left, top, across, down = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (1, 3, 5, 7))
            width, height, frames = max(width, left + across), max(height, top + down), frames + 1
            at = _gif_blocks(data, at + 11 + _gif_palette(data[at + 9]))
            kept += data[start:at]
        elif introducer == 0x21:  # noqa: PLR2004 - an extension
            at = _gif_blocks(data, at + 2)
            if data[start + 1] == _GIF_CONTROL:
                kept += data[start:at]
        else:
            msg = "an unknown block"
            raise ValueError(msg)
    return Container(bytes(kept + b";"), width, height, frames=max(1, frames))


def webp(data: bytes) -> Container:
    """The size only: the decoder sets memory aside for it as soon as it is made. Frames it counts itself."""
    kind = data[12:16]
    if kind == b"VP8X":
        return Container(data, 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L" and data[20] == 0x2F:  # noqa: PLR2004 - its signature
        bits = int.from_bytes(data[21:25], "little")
        return Container(data, 1 + (bits & _MAX_U14), 1 + (bits >> 14 & _MAX_U14))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return Container(data, width & _MAX_U14, height & _MAX_U14)
    msg = "no picture"
    raise ValueError(msg)


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks(data: bytes, at: int) -> int:
    """Where the chain of blocks that starts here ends. A cut chain is an IndexError."""
    while length := data[at]:
        at += 1 + length
    return at + 1
