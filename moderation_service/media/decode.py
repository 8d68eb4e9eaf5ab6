"""Bytes to pixels, within bounds that are known before any pixel is decoded."""

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from moderation_service.media import containers
from moderation_service.media.containers import Container
from moderation_service.media.outcome import LoadedImage, Pixels
from moderation_service.media.sniff import DECODED, media_type
from moderation_service.settings import MediaSettings

# The classes, not Image.open: no format but the sniffed one is tried, and no process-wide pixel limit is needed.
_DECODERS: dict[str, type[ImageFile]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/gif": GifImageFile,
    "image/webp": WebPImageFile,
    "image/avif": AvifImageFile,
}
_CONTAINERS = {
    "image/jpeg": containers.jpeg,
    "image/png": containers.png,
    "image/gif": containers.gif,
    "image/webp": containers.webp,
}
_LEAST_WORK = 128 * 128  # pixels; what a frame costs however small it is
_USUAL_SCANS = 10  # of a progressive JPEG
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = 5


def decode(data: bytes, settings: MediaSettings, digest: str | None = None) -> LoadedImage:
    """Decode one picture; blocks. Never raises for what the bytes hold.

    `too_large`: more than `max_pixels`, or frames and scans worth more than `max_pixels` × `max_frames` to decode.
    Frames are at most `max_side` on their longer side, alpha laid over white. `digest`: the bytes' SHA-256, where it
    is known.
    """
    digest, kind = digest or sha256(data).hexdigest(), media_type(data)
    if kind is None or kind not in DECODED:
        return LoadedImage("unsupported" if kind else "undecodable", digest, media_type=kind)
    width: int | None = None
    height: int | None = None
    try:
        image, frames, exif = _open(data, kind, settings)
        orientation = _orientation(exif)
        width, height = image.size if orientation < _SIDEWAYS else (image.height, image.width)
        pixels = tuple(_frames(image, frames, orientation, settings))
    except _TooLarge as fault:
        return LoadedImage("too_large", digest, fault.width, fault.height, media_type=kind)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        return LoadedImage("too_large", digest, width, height, media_type=kind)
    except Exception:  # noqa: BLE001 - decoders raise all sorts for broken bytes; each means the same here
        return LoadedImage("undecodable", digest, width, height, media_type=kind)
    return LoadedImage("judged", digest, width, height, frames=pixels, media_type=kind)


class _TooLarge(Exception):  # noqa: N818 - an outcome
    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.width, self.height = width, height


def _open(data: bytes, kind: str, settings: MediaSettings) -> tuple[ImageFile, int, bytes]:
    """The header, with its size and its work checked; how many frames there are; and the EXIF block."""
    exif = b""
    if read := _CONTAINERS.get(kind):
        container = read(data)
        exif = container.exif
        _check(container, settings)
        image = _DECODERS[kind](BytesIO(container.data))
        if kind == "image/webp":
            frames = int(getattr(image, "n_frames", 1))
        elif kind == "image/png" and getattr(image, "n_frames", 1) != container.frames:
            msg = "more or fewer frames than announced"
            raise ValueError(msg)
        else:
            frames = container.frames
    else:
        image = _DECODERS[kind](BytesIO(data))
        frames = int(getattr(image, "n_frames", 1))
    _check(Container(b"", *image.size, frames=frames), settings)
    return image, frames, exif or image.info.get("exif", b"")


def _check(container: Container, settings: MediaSettings) -> None:
    pixels = container.width * container.height
    if pixels == 0:
        msg = "a side of 0 pixels"
        raise ValueError(msg)
    # The last frame is among the wanted ones, and can't be had without all before it.
    frames = container.frames if settings.max_frames > 1 else 1
    work = max(pixels, _LEAST_WORK if frames > 1 else 0) * frames * -(-container.scans // _USUAL_SCANS)
    if pixels > settings.max_pixels or (work > pixels and work > settings.max_pixels * settings.max_frames):
        raise _TooLarge(container.width, container.height)


def _orientation(data: bytes) -> int:
    """1 to 8; broken EXIF data is no EXIF data."""
    exif = Image.Exif()
    try:
        exif.load(data)
        value = exif.get(Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - as in `decode`
        return 1
    return value if value in _TRANSPOSED else 1


def _frames(image: ImageFile, frames: int, orientation: int, settings: MediaSettings) -> Iterator[Pixels]:
    """Up to `max_frames`, evenly spaced, the first and the last among them."""
    wanted = min(frames, settings.max_frames)
    for index in range(wanted):
        at = index * (frames - 1) // (wanted - 1) if wanted > 1 else 0
        if frames > 1:
            image.seek(at)
        # Shrinking works in place, and would take the next frame's canvas away.
        small = _shrink(image.copy() if frames > 1 else image, settings.max_side)
        if orientation in _TRANSPOSED:
            small = small.transpose(_TRANSPOSED[orientation])
        yield np.asarray(small, dtype=np.uint8)


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """RGB, at most `side` pixels on the longer side.

    The whole image is decoded first. A JPEG's reduced scales (`draft`) leave out detail before levels are clipped, so
    that words which a browser shows can vanish. `thumbnail` would ask for them: it finds the pixels loaded.
    """
    image.load()
    if image.mode.startswith("I"):  # 16 bits of grey: keep the upper eight
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    clear = image.has_transparency_data
    if clear:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if clear:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image if image.mode == "RGB" else image.convert("RGB")
