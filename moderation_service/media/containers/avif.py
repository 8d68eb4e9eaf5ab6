"""AVIF: size and frames as libavif tells them; the profile, or the numbers that stand for one."""

import struct
from collections.abc import Iterator
from io import BytesIO

from PIL.AvifImagePlugin import AvifImageFile

from moderation_service.media import colour, icc
from moderation_service.media.containers.container import Container
from moderation_service.media.icc import Profile

_BT709, _SRGB = 1, 13
_AS_SRGB = frozenset({1, 2, 6, 14, 15})  # transfer functions of video, and none, which browsers show as sRGB


def read(data: bytes) -> Container:
    """Nothing is decoded yet."""
    image = AvifImageFile(BytesIO(data))
    profile = icc.read(image.info.get("icc_profile", b"")) or _by_numbers(data)
    return Container(data, *image.size, frames=int(image.n_frames), profile=profile)


def _by_numbers(data: bytes) -> Profile | None:
    """Of the box `colr` that belongs to the primary item."""
    for own in _properties(data):
        if own[:8] == b"colrnclx":
            primaries, transfer = struct.unpack_from(">HH", own, 8)
            transfer = _SRGB if transfer in _AS_SRGB else transfer
            return colour.profile_from_cicp(primaries, transfer) or colour.profile_from_cicp(_BT709, transfer)
    return None


def _properties(data: bytes) -> Iterator[bytes]:
    """The primary item's properties, each its kind and its body."""
    meta = dict(_boxes(dict(_boxes(data)).get(b"meta", b"")[4:]))
    held = dict(_boxes(meta.get(b"iprp", b"")))
    properties = list(_boxes(held.get(b"ipco", b"")))
    item = meta.get(b"pitm", b"")
    primary = int.from_bytes(item[4:8] if item[:1] == b"\1" else item[4:6])
    for index in _associated(held.get(b"ipma", b""), primary):
        if 0 < index <= len(properties):
            yield b"".join(properties[index - 1])


def _associated(table: bytes, item: int) -> list[int]:
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
