"""PNG and APNG: the first header and palette, image data, colour and EXIF; of an animation, each frame a file."""

import struct
import zlib
from dataclasses import dataclass
from functools import partial

from moderation_service.media import colour, icc
from moderation_service.media.containers import CLEAR, KEEP, RESTORE, Container, Patch
from moderation_service.media.icc import Profile

_MOST_PROFILE_BYTES = 4 * 1024 * 1024
_COLOUR = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"acTL"}) | _COLOUR
_MANY = frozenset({b"IDAT", b"fcTL", b"fdAT"})
_DISPOSALS = (KEEP, CLEAR, RESTORE)
_SRGB_GAMMA = 45_455  # of 100,000
_COLOURS = 256
_GREY, _RGB, _PALETTE = 0, 2, 3

_Spans = list[tuple[int, int]]  # from and to, in the file


@dataclass(frozen=True, slots=True)
class _Chunks:
    """The chunks that count: `once` those of a kind that there is one of, `many` (kind, from, to) in their order."""

    data: bytes
    once: dict[bytes, bytes]
    many: list[tuple[bytes, int, int]]

    def file(self, width: int, height: int, spans: _Spans) -> bytes:
        """A file of the image data in these spans."""
        header = struct.pack(">II", width, height) + self.once[b"IHDR"][8:]
        parts = [_chunk(b"IHDR", header)]
        parts += [_chunk(kind, self.once[kind]) for kind in (b"PLTE", b"tRNS") if kind in self.once]
        parts.append(_chunk(b"IDAT", b"".join(self.data[start:end] for start, end in spans)))
        return self.data[:8] + b"".join(parts) + _chunk(b"IEND", b"")


def read(data: bytes) -> Container:
    """Text and private chunks are left out. A chunk that describes the image counts where its checksum is right."""
    chunks = _walked(data)
    once = chunks.once
    width, height, depth, kind = struct.unpack(">IIBB", once[b"IHDR"][:10])
    if kind == _PALETTE:
        # Browsers take the last colour for those beyond the palette.
        palette, alphas = once[b"PLTE"], once.get(b"tRNS", b"")
        colours = len(palette) // 3
        once[b"PLTE"] = palette + palette[-3:] * (_COLOURS - colours)
        if alphas and len(alphas) >= colours:
            once[b"tRNS"] = alphas[:colours] + alphas[colours - 1 : colours] * (_COLOURS - colours)
    if b"tRNS" in once and kind in (_GREY, _RGB) and depth != 8:  # noqa: PLR2004 - bits
        once[b"tRNS"] = _scaled_key(once[b"tRNS"], depth, kind)
    exif, profile = once.get(b"eXIf", b""), _profile(once)
    if int.from_bytes(once.get(b"acTL", b"")[:4]):
        patches = tuple(_patches(chunks, width, height))
        return Container(b"", width, height, frames=len(patches), exif=exif, profile=profile, patches=patches)
    still = chunks.file(width, height, [(start, end) for name, start, end in chunks.many if name == b"IDAT"])
    return Container(still, width, height, exif=exif, profile=profile)


def _walked(data: bytes) -> _Chunks:
    chunks = _Chunks(data, {}, [])
    at, begun = 8, False
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        start, end = at + 8, at + 8 + length
        # What describes the image counts only ahead of its data; frames without an announcement are noise.
        if kind in _ONCE and kind not in chunks.once and (kind == b"eXIf" or not begun):
            if zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4]):
                chunks.once[kind] = data[start:end]
        elif kind in _MANY and length > 0 and (kind == b"IDAT" or b"acTL" in chunks.once):
            chunks.many.append((kind, start, end))
            begun |= kind == b"IDAT"
        if kind == b"IEND":
            break
        at = end + 4
    return chunks


def _patches(chunks: _Chunks, width: int, height: int) -> list[Patch]:
    """A still ahead of the animation is a frame of its own: some viewers show it. Raises ValueError."""
    frames: list[tuple[bytes | None, _Spans]] = []
    for kind, start, end in chunks.many:
        if kind == b"fcTL":
            frames.append((chunks.data[start:end], []))
        elif kind == b"IDAT":
            if not frames:
                frames.append((None, []))
            frames[0][1].append((start, end))
        elif frames and frames[-1][0] is not None:
            frames[-1][1].append((start + 4, end))
    controls = sum(control is not None for control, _ in frames)
    if controls != int.from_bytes(chunks.once[b"acTL"][:4]) or not all(spans for _, spans in frames):
        msg = "more or fewer frames than announced"
        raise ValueError(msg)
    return [_patch(chunks, control, spans, (width, height)) for control, spans in frames]


def _patch(chunks: _Chunks, control: bytes | None, spans: _Spans, canvas: tuple[int, int]) -> Patch:
    if control is None:
        return Patch(0, 0, *canvas, partial(chunks.file, *canvas, spans), over=False, dispose=CLEAR)
    width, height, left, top, dispose, blend = struct.unpack(">4x4I4xBB", control)
    if not (width and height and left + width <= canvas[0] and top + height <= canvas[1]) or blend > 1:
        msg = "a frame beyond the canvas"
        raise ValueError(msg)
    file = partial(chunks.file, width, height, spans)
    return Patch(left, top, width, height, file, over=blend == 1, dispose=_DISPOSALS[dispose])


def _profile(once: dict[bytes, bytes]) -> Profile | None:
    """By cICP, else iCCP, else sRGB, else gAMA with cHRM."""
    numbers = once.get(b"cICP", b"")
    if len(numbers) == 4 and numbers[2:] == b"\0\1" and (named := colour.profile_from_cicp(*numbers[:2])):  # noqa: PLR2004
        return named
    if profile := icc.read(_unpacked(once.get(b"iCCP", b""))):
        return profile
    gamma = int.from_bytes(once.get(b"gAMA", b"")[:4])
    corners = once.get(b"cHRM", b"")
    if b"sRGB" in once or not gamma:
        return None
    if len(corners) == 32:  # noqa: PLR2004 - eight numbers
        return colour.profile_from_gamma(gamma / 100_000, [one / 100_000 for one in struct.unpack(">8I", corners)])
    return None if gamma == _SRGB_GAMMA else colour.profile_from_gamma(gamma / 100_000, None)


def _unpacked(chunk: bytes) -> bytes:
    """A profile out of its chunk; empty where it is none. Raises ValueError for one that is too large to be read."""
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(chunk.partition(b"\0")[2][1:], _MOST_PROFILE_BYTES)
    except zlib.error:
        return b""
    if not unpacker.eof and profile[36:40] == b"acsp" and len(profile) == _MOST_PROFILE_BYTES:
        msg = "a colour profile of more than 4 MiB"
        raise ValueError(msg)
    return profile if unpacker.eof else b""


def _scaled_key(key: bytes, depth: int, kind: int) -> bytes:
    """The transparent level of few bits as one of eight. Raises ValueError for RGB of 16 bits, which is not decoded."""
    if kind == _RGB:
        msg = "a transparent colour of 16 bits"
        raise ValueError(msg)
    level = int.from_bytes(key[:2])
    return struct.pack(">H", level if depth > 8 else level * 255 // (2**depth - 1))  # noqa: PLR2004


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
