"""WebP and AVIF, which decoders take whole: the size, for which they set memory aside at once, and the profile."""

import struct
from collections.abc import Iterator
from io import BytesIO

from PIL.AvifImagePlugin import AvifImageFile

from moderation_service.media import colour, icc
from moderation_service.media.containers import Container
from moderation_service.media.icc import Profile

_MAX_U14 = 0x3FFF
_HAS_PROFILE = 0x20
_BT709, _SRGB = 1, 13
_AS_SRGB = frozenset({1, 2, 6, 14, 15})  # transfer functions of video, and none, which browsers show as sRGB


def read_webp(data: bytes) -> Container:
    """WebP. Frames are for the decoder to count."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        return Container(data, width, height, profile=_webp_profile(data) if data[20] & _HAS_PROFILE else None)
    if kind == b"VP8L" and data[20] == 0x2F:  # noqa: PLR2004 - its signature
        bits = int.from_bytes(data[21:25], "little")
        return Container(data, 1 + (bits & _MAX_U14), 1 + (bits >> 14 & _MAX_U14))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return Container(data, width & _MAX_U14, height & _MAX_U14)
    msg = "no image"
    raise ValueError(msg)


def _webp_profile(data: bytes) -> Profile | None:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ICCP":
            return icc.read(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return None


def read_avif(data: bytes) -> Container:
    """AVIF: size and frames as libavif tells them. Nothing is decoded yet."""
    image = AvifImageFile(BytesIO(data))
    profile = icc.read(image.info.get("icc_profile", b"")) or _nclx_profile(data)
    return Container(data, *image.size, frames=int(image.n_frames), profile=profile)


def _nclx_profile(data: bytes) -> Profile | None:
    """Of the box `colr` that belongs to the primary item."""
    for own in _avif_properties(data):
        if own[:8] == b"colrnclx":
            primaries, transfer = struct.unpack_from(">HH", own, 8)
            transfer = _SRGB if transfer in _AS_SRGB else transfer
            return colour.profile_from_cicp(primaries, transfer) or colour.profile_from_cicp(_BT709, transfer)
    return None


def _avif_properties(data: bytes) -> Iterator[bytes]:
    """The primary item's properties, each its kind and its body."""
    meta = dict(_boxes(dict(_boxes(data)).get(b"meta", b"")[4:]))
    held = dict(_boxes(meta.get(b"iprp", b"")))
    properties = list(_boxes(held.get(b"ipco", b"")))
    item = meta.get(b"pitm", b"")
    primary = int.from_bytes(item[4:8] if item[:1] == b"\1" else item[4:6])
    for index in _avif_associations(held.get(b"ipma", b""), primary):
        if 0 < index <= len(properties):
            yield b"".join(properties[index - 1])


def _avif_associations(table: bytes, item: int) -> list[int]:
    """The numbers of an item's properties, from 1."""
    if len(table) < 8:  # noqa: PLR2004 - its head
        return []
    version, wide = table[0], table[3] & 1
    at = 8
    for _ in range(int.from_bytes(table[4:8])):
        size = 4 if version else 2
        found, count = int.from_bytes(table[at : at + size]), table[at + size]
        at += size + 1
        if found == item:
            mask, each = (0x7FFF, 2) if wide else (0x7F, 1)
            return [int.from_bytes(table[at + each * one : at + each * (one + 1)]) & mask for one in range(count)]
        at += count * (2 if wide else 1)
    return []


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each box; sizes of 64 bits and until the end are for media data."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:  # noqa: PLR2004 - its own head
            return
        yield kind, data[at + 8 : at + size]
        at += size
