"""GIF: its frames, each as a file of its own."""

from functools import partial

from moderation_service.media.containers import CLEAR, KEEP, RESTORE, Container, Patch

_CONTROL = 0xF9
_COLOURS = 256
_DISPOSALS = {2: CLEAR, 3: RESTORE, 4: RESTORE}  # 4 by encoders that number from 0


def read(data: bytes) -> Container:
    """The size is that of the screen, or the first frame's where it is larger. Only images and their controls count."""
    at = 13 + _palette_bytes(data[10])
    palette = data[13:at]
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    patches: list[Patch] = []
    control = b""
    while at < len(data) and data[at] != 0x3B:  # noqa: PLR2004 - the trailer; browsers do without it
        start, introducer = at, data[at]
        if introducer == 0x2C:  # noqa: PLR2004 - an image
            left, top, across, down = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (1, 3, 5, 7))
            if not patches:
                width, height = max(width, left + across), max(height, top + down)
            at = _end(data, at + 11 + _palette_bytes(data[at + 9]))
            dispose = _DISPOSALS.get(control[3] >> 2 & 7, KEEP) if control else KEEP
            file = partial(_file, data, start, at, palette, control)
            patches.append(Patch(left, top, across, down, file, over=True, dispose=dispose))
            control = b""
        elif introducer == 0x21:  # noqa: PLR2004 - an extension
            at = _end(data, at + 2)
            if data[start + 1] == _CONTROL:
                control = data[start : start + 8]
        else:
            msg = "an unknown block"
            raise ValueError(msg)
    if not patches:
        msg = "no image"
        raise ValueError(msg)
    return Container(b"", width, height, frames=len(patches), patches=tuple(patches))


def _file(data: bytes, start: int, end: int, palette: bytes, control: bytes) -> bytes:
    """A file of one frame at the corner of its own screen, with a palette of all 256 colours."""
    flags = data[start + 9]
    body = start + 10 + _palette_bytes(flags)
    if own := data[start + 10 : body]:
        palette = own
    palette += bytes(3 * _COLOURS - len(palette))
    screen = data[start + 5 : start + 9]
    head = b"GIF89a" + screen + b"\xf7\0\0" + palette + (control if len(control) == 8 else b"")  # noqa: PLR2004
    return head + b"\x2c\0\0\0\0" + screen + bytes((flags & 0x40,)) + data[body:end] + b";"


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end(data: bytes, at: int) -> int:
    """Where the chain of blocks that starts here ends. A cut chain is an IndexError."""
    while length := data[at]:
        at += 1 + length
    return at + 1
