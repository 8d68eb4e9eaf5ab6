"""Image containers, read before any decoder sees them: a media type by signature, then a module a format.

Each module tells size, frames, scans, orientation and colour from the bytes, and leaves out what is not image (text,
comments, further previews): those parts hold the cheapest bombs. Malformed containers raise ValueError, IndexError or
struct.error.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from moderation_service.media.icc import Profile

Dispose = Literal["keep", "clear", "restore"]
KEEP: Dispose = "keep"
CLEAR: Dispose = "clear"
RESTORE: Dispose = "restore"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"%PDF-", "application/pdf"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
)
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|\?xml\b|!doctype\s+svg\b|!--)", re.IGNORECASE)
_SVG_WITHIN = 4096
_BRANDS_WITHIN = 256


@dataclass(frozen=True, slots=True)
class Patch:
    """One frame of an animation as its file has it: a part of the canvas, and what becomes of it.

    `file` makes a file of the patch alone. `over`: it is laid over what is there, else it replaces it. `dispose`
    happens after it was shown: keep it, clear its part, or restore what was there before.
    """

    left: int
    top: int
    width: int
    height: int
    file: Callable[[], bytes]
    over: bool
    dispose: Dispose


@dataclass(frozen=True, slots=True)
class Container:
    """`data` is what the decoder gets; `frames` and `scans` are at least 1; sizes are in pixels, as stored.

    `exif` is set where it was taken out of `data`. With `patches`, those are decoded in the place of `data`.
    `cut`: the end of the file is missing.
    """

    data: bytes
    width: int
    height: int
    frames: int = 1
    scans: int = 1
    exif: bytes = b""
    profile: Profile | None = None
    patches: tuple[Patch, ...] = ()
    cut: bool = False


def media_type(data: bytes) -> str | None:
    """The media type of a file by its first bytes, decoded here or not; None for an unknown one."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _iso(data)
    if _SVG.match(data[:_SVG_WITHIN]) and b"<svg" in data[:_SVG_WITHIN].lower():
        return "image/svg+xml"
    return None


def _iso(data: bytes) -> str:
    end = min(int.from_bytes(data[:4]), _BRANDS_WITHIN, len(data))
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
    if brands & {b"avif", b"avis"}:
        return "image/avif"
    return "image/heic" if brands & _HEIC else "video/mp4"


def compose_frames(
    container: Container, wanted: Collection[int], decoded: Callable[[Patch], Image.Image]
) -> Iterator[Image.Image]:
    """Compositor of animations (GIF, APNG): patches onto a canvas, by the rules that browsers share.

    The wanted frames in their order, RGBA, of a canvas that starts out transparent. `decoded` gives RGBA.
    """
    size = container.width, container.height
    canvas = Image.new("RGBA", size)
    for number, patch in enumerate(container.patches[: max(wanted) + 1]):
        image = decoded(patch)
        right, bottom = min(patch.left + image.width, size[0]), min(patch.top + image.height, size[1])
        box = patch.left, patch.top, max(right, patch.left), max(bottom, patch.top)
        image = image.crop((0, 0, box[2] - box[0], box[3] - box[1]))
        before = canvas.crop(box) if patch.dispose == RESTORE else None
        if patch.over:
            canvas.alpha_composite(image, box[:2])
        else:
            canvas.paste(image, box)
        if number in wanted:
            yield canvas.copy()
        if patch.dispose == CLEAR:
            canvas.paste((0, 0, 0, 0), box)
        elif before:
            canvas.paste(before, box)
