"""WebP: the size, as the decoder sets memory aside for it as soon as it is made, and the profile."""

from moderation_service.media import icc
from moderation_service.media.containers.container import Container
from moderation_service.media.icc import Profile

_MAX_U14 = 0x3FFF
_HAS_PROFILE = 0x20


def read(data: bytes) -> Container:
    """Frames are for the decoder to count."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        return Container(data, width, height, profile=_profile(data) if data[20] & _HAS_PROFILE else None)
    if kind == b"VP8L" and data[20] == 0x2F:  # noqa: PLR2004 - its signature
        bits = int.from_bytes(data[21:25], "little")
        return Container(data, 1 + (bits & _MAX_U14), 1 + (bits >> 14 & _MAX_U14))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return Container(data, width & _MAX_U14, height & _MAX_U14)
    msg = "no image"
    raise ValueError(msg)


def _profile(data: bytes) -> Profile | None:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ICCP":
            return icc.read(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return None
