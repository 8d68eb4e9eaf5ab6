"""JPEG: tables, one size and the colour markers; then the scans as they are."""

import re

from moderation_service.media import icc
from moderation_service.media.containers import Container
from moderation_service.media.icc import Profile

_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
_JFIF = 0xE0, b"JFIF\0"
_EXIF = 0xE1, b"Exif\0\0"
_ICC = 0xE2, b"ICC_PROFILE\0"
_ADOBE = 0xEE, b"Adobe"
_ADOBE_BYTES = 16  # of a whole one; decoders ignore shorter ones
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_END = 0xD9
_END_OF_IMAGE = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # between scans; none that stands in entropy-coded data


def read(data: bytes) -> Container:  # noqa: C901, PLR0912 - one walk, a branch a marker
    """The first JFIF and EXIF blocks count, and the last of Adobe's, which tells the colours, as in decoders."""
    kept, exif, adobe, at = bytearray(data[:2]), b"", b"", 2
    jfif = False
    parts: list[bytes] = []
    size: tuple[int, int] | None = None
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:  # noqa: PLR2004 - a marker may be padded
            at += 1
        marker, at = data[at], at + 1
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2])
        if marker == _END or length < 2 or at + length > len(data):  # noqa: PLR2004 - it counts itself
            msg = "no scan"
            raise ValueError(msg)
        segment = bytes((0xFF, marker)) + data[at : at + length]
        if marker == _SCAN:
            if size is None:
                msg = "a scan before a size"
                raise ValueError(msg)
            # Entropy-coded data never holds these pairs.
            scans, cut = 1 + data.count(b"\xff\xda", at), data.find(b"\xff\xd9", at) < 0
            kept += adobe + b"\xff\xda" + (_ended(data, at) if cut else data[at:])
            return Container(bytes(kept), *size, scans=scans, exif=exif, profile=_profile(parts), cut=cut)
        if marker in _SIZES:
            if size is not None:
                msg = "two sizes"
                raise ValueError(msg)
            size = int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7])
            kept += segment
        elif marker in _TABLES:
            kept += segment
        elif _is(segment, _JFIF) and not jfif:
            jfif = True
            kept += segment
        elif _is(segment, _ADOBE) and len(segment) >= _ADOBE_BYTES:
            adobe = segment
        elif _is(segment, _EXIF):
            exif = exif or segment[4:]
        elif _is(segment, _ICC):
            parts.append(segment[16:])
        at += length


def _ended(data: bytes, at: int) -> bytes:
    """Scans that lack their end, with one; without a last segment that is cut."""
    last = max((found.start() for found in _MARKER.finditer(data, at)), default=len(data))
    if last + 2 + int.from_bytes(data[last + 2 : last + 4]) > len(data):
        return data[at:last] + _END_OF_IMAGE
    return data[at:] + _END_OF_IMAGE


def _is(segment: bytes, kind: tuple[int, bytes]) -> bool:
    return segment[1] == kind[0] and segment.startswith(kind[1], 4)


def _profile(parts: list[bytes]) -> Profile | None:
    """Of parts that each start with their number and how many there are; None where one is missing."""
    total = parts[0][1] if parts else 0
    found: dict[int, bytes] = {}
    for part in parts:
        if part[1] == total:
            found.setdefault(part[0], part[2:])
    if not total or any(number not in found for number in range(1, total + 1)):
        return None
    return icc.read(b"".join(found[number] for number in range(1, total + 1)))
