"""ICC profiles, read as Chromium's skcms reads them: curves with a matrix, or a table (A2B0, A2B1)."""

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Space = Literal["RGB", "GRAY", "CMYK"]
Floats = NDArray[np.float64]

LEVELS = np.arange(256) / 255
D50 = (0.9642, 1.0, 0.8249)
_HEADER, _ENTRY, _MOST_TAGS = 128, 12, 100
_SPACES: dict[bytes, Space] = {b"RGB ": "RGB", b"GRAY": "GRAY", b"CMYK": "CMYK"}
_NEWEST = 4  # the major version
_NEAR = 0.01
_MOST = 1000.0  # of a curve
_PARAMETERS = (1, 3, 4, 5, 7)  # of each kind of parametric curve
_USED = frozenset({b"A2B0", b"A2B1", b"cicp", b"kTRC", b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ"})
_TABLES = (b"mft1", b"mft2", b"mAB ")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile makes of levels: `table`, a profile file of one A2B table; else `curves` and, for RGB, `columns`.

    `curves` [1 or 3, 256] gives the linear value, from 0, of each level; `columns` [3, 3] the XYZ (D50) of red, green
    and blue, a column each. `cicp` are the numbers of primaries and transfer function by ITU-T H.273, which count
    before all else where they are known.
    """

    space: Space
    curves: Floats | None = None
    columns: Floats | None = None
    table: bytes | None = None
    cicp: tuple[int, int] | None = None


def read(data: bytes) -> Profile | None:
    """The profile; None for one that browsers ignore."""
    try:
        return _profile(data)
    except (ValueError, IndexError, KeyError, struct.error):
        return None


def _profile(data: bytes) -> Profile | None:
    size = int.from_bytes(data[:4])
    space = _SPACES.get(data[16:20])
    illuminant = _fixed(data, 68, 3)
    if (
        data[36:40] != b"acsp"
        or not _HEADER + 4 <= size <= len(data)
        or data[8] > _NEWEST
        or data[20:24] not in (b"XYZ ", b"Lab ")
        or space is None
        or any(abs(value - wanted) > _NEAR for value, wanted in zip(illuminant, D50, strict=True))
    ):
        return None
    tags = _tags(data[:size])
    code = tags.get(b"cicp", b"")
    cicp = (code[8], code[9]) if code[:4] == b"cicp" and space == "RGB" else None
    for name in (b"A2B0", b"A2B1"):
        if space != "GRAY" and name in tags:
            table = tags[name]
            return Profile(space, table=_of_table(data, table), cicp=cicp) if table[:4] in _TABLES else None
    if space == "GRAY":
        return Profile("GRAY", curves=np.stack([_curve(tags[b"kTRC"])]))
    if space == "RGB":
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
        columns = np.stack([_fixed(tags[name], 8, 3) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], -1)
        return Profile("RGB", curves=curves, columns=columns, cicp=cicp)
    return None


def _tags(data: bytes) -> dict[bytes, bytes]:
    """Raises ValueError where one lies outside of the profile."""
    count = int.from_bytes(data[_HEADER : _HEADER + 4])
    if count > _MOST_TAGS:
        raise ValueError(count)
    tags: dict[bytes, bytes] = {}
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", data, _HEADER + 4 + _ENTRY * number)
        if offset + size > len(data):
            raise ValueError(name)
        if name in _USED:
            tags.setdefault(name, data[offset : offset + size])
    return tags


def _fixed(data: bytes, at: int, count: int) -> Floats:
    return np.array(struct.unpack_from(f">{count}i", data, at)) / 65536


def _curve(tag: bytes) -> Floats:
    """The values of the 256 levels. Raises ValueError for a curve of an unknown kind."""
    kind, count = tag[:4], int.from_bytes(tag[8:12])
    if kind == b"curv" and count <= 1:
        return LEVELS ** (float(struct.unpack_from(">H", tag, 12)[0]) / 256 if count else 1.0)
    if kind == b"curv":
        points = np.frombuffer(tag, ">u2", count, 12) / 65535
        return np.interp(LEVELS, np.linspace(0, 1, count), points)
    if kind != b"para":
        raise ValueError(kind)
    function = int.from_bytes(tag[8:10])
    g, a, b, c, d, e, f = [*_fixed(tag, 12, _PARAMETERS[function]), *[0.0] * 7][:7]
    if function == 0:
        a = 1.0
    elif function < 3:  # noqa: PLR2004 - of two parts, whose border is where the power's base is 0
        c, d, e, f = 0.0, max(-b / a, 0.0) if a else 0.0, c, c
    if min(g, a, c, d, a * d + b) < 0:
        raise ValueError(function)
    with np.errstate(over="ignore"):
        power = np.maximum(a * LEVELS + b, 0) ** g + e
    return np.asarray(np.where(d <= LEVELS, power, c * LEVELS + f).clip(0, _MOST))


def write(columns: Floats, curves: Floats) -> bytes:
    """A profile file of a matrix and curves, whose values lie between 0 and 1."""
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *np.clip(column * 65536, -(2**31), 2**31 - 1).astype(np.int64))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)
    }
    for name, curve in zip((b"rTRC", b"gTRC", b"bTRC"), curves, strict=True):
        tags[name] = b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + (curve * 65535).round().astype(">u2").tobytes()
    return _file(b"RGB ", b"XYZ ", b"\4\3\0\0", tags)


def _of_table(data: bytes, table: bytes) -> bytes:
    return _file(data[16:20], data[20:24], data[8:12], {b"A2B0": table})


def _file(space: bytes, pcs: bytes, version: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in D50)), **tags}
    at = _HEADER + 4 + _ENTRY * len(tags)
    index, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        index += struct.pack(">4sII", name, at + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    header = struct.pack(">4x4x4s4s4s4s12x4s28x", version, b"mntr", space, pcs, b"acsp")
    header += tags[b"wtpt"][8:] + bytes(48)
    return struct.pack(">I", at + len(body)) + header[4:] + index + body
