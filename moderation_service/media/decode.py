"""Bytes to pixels, within bounds that are known before any pixel is decoded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from threading import Lock

import numpy as np
from cachetools import LRUCache
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from moderation_service.contracts.enums import ImageFlag, ImageStatus
from moderation_service.media.colour import ConversionCostError, to_srgb
from moderation_service.media.containers import Container, Patch, compose_frames, gif, jpeg, media_type, png, webp_avif
from moderation_service.media.frame_selection import select_frames
from moderation_service.media.icc import Profile
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MIB, MediaSettings

CACHE_BYTES = 64 * MIB
"""Pixels of 21 images of 1024 × 1024."""

# Pillow's classes, not Image.open: no format but the sniffed one is tried, and no process-wide pixel limit is needed.
_FORMATS: dict[str, tuple[Callable[[bytes], Container], type[ImageFile]]] = {
    "image/jpeg": (jpeg.read, JpegImageFile),
    "image/png": (png.read, PngImageFile),
    "image/gif": (gif.read, GifImageFile),
    "image/webp": (webp_avif.read_webp, WebPImageFile),
    "image/avif": (webp_avif.read_avif, AvifImageFile),
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
_UNKNOWN = 128  # the level of what a JPEG lacks
_MOST_ROWS = 15 / 16  # of a JPEG without its end: more than that is the whole


class DecodeCache:
    """LRU cache of decoded images, keyed by digest: a repost costs a digest of its bytes. Threads may share it."""

    def __init__(self, settings: MediaSettings, kept_bytes: int = CACHE_BYTES) -> None:
        self._settings = settings
        self._decoded: LRUCache[str, LoadedImage] = LRUCache(kept_bytes, getsizeof=_size)
        self._lock = Lock()

    def __call__(self, data: bytes) -> LoadedImage:
        """One image; blocks. Never raises for what the bytes hold."""
        digest = sha256(data).hexdigest()
        with self._lock:
            if decoded := self._decoded.get(digest):
                return decoded
        image = decode(data, self._settings, digest)
        if image.frames:
            with self._lock, suppress(ValueError):  # larger than the whole cache
                self._decoded[digest] = image
        return image


def decode(data: bytes, settings: MediaSettings, digest: str | None = None) -> LoadedImage:
    """Decode one image as a browser shows it; blocks. Never raises for what the bytes hold.

    `too_large`: more than `max_pixels`, or frames and scans worth more than `max_pixels` × `max_frames` to decode.
    Frames are sRGB, at most `max_side` on their longer side. Where transparency conceals content from one who sees the
    image on white, a frame on black comes behind each on white. `digest`: the bytes' SHA-256, where it is known.
    """
    digest, kind = digest or sha256(data).hexdigest(), media_type(data)
    if kind is None or kind not in _FORMATS:
        return LoadedImage(ImageStatus.UNSUPPORTED if kind else ImageStatus.UNDECODABLE, digest, media_type=kind)
    width: int | None = None
    height: int | None = None
    try:
        container = read_container(data, kind)
        _check(container, settings)
        source = _Source(container, kind, settings)
        width, height = source.size
        seen = select_frames(source, settings)
    except _TooLarge as fault:
        return LoadedImage(ImageStatus.TOO_LARGE, digest, fault.width, fault.height, media_type=kind)
    except (ConversionCostError, MemoryError):
        return LoadedImage(ImageStatus.TOO_LARGE, digest, width, height, media_type=kind)
    except Exception:  # noqa: BLE001 - decoders raise all sorts for broken bytes; each means the same here
        return LoadedImage(ImageStatus.UNDECODABLE, digest, width, height, media_type=kind)
    return LoadedImage(
        *(ImageStatus.JUDGED, digest, width, height),
        frames=seen.frames,
        media_type=kind,
        flags=(ImageFlag.TRUNCATED,) if source.truncated else (),
        scale=seen.scale,
        hashes=seen.hashes,
    )


def read_container(data: bytes, kind: str) -> Container:
    """The container of a file of one of the decoded media types."""
    return _FORMATS[kind][0](data)


class _TooLarge(Exception):  # noqa: N818 - an outcome
    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.width, self.height = width, height


class _Source:
    """An image whose header is read: its frames in full size, upright, in sRGB."""

    def __init__(self, container: Container, kind: str, settings: MediaSettings) -> None:
        """Raises _TooLarge where the decoder tells of more than the container did."""
        self._container, self._decoder = container, _FORMATS[kind][1]
        self._image: ImageFile | None = None
        exif, size, self.frames = container.exif, (container.width, container.height), container.frames
        if not container.patches:
            self._image = self._decoder(BytesIO(container.data))
            exif = exif or self._image.info.get("exif", b"")
            size = self._image.size
            if kind == "image/webp":
                self.frames = int(getattr(self._image, "n_frames", 1))
            _check(Container(b"", *size, frames=self.frames), settings)
        self._turn = _orientation(exif)
        self.size = size if self._turn < _SIDEWAYS else size[::-1]
        self.truncated = False

    def read(self, wanted: Sequence[int]) -> Iterator[Image.Image]:
        """The wanted frames, L, RGB or RGBA, one at a time."""
        profile = self._container.profile
        if self._image is None:
            for frame in compose_frames(self._container, wanted, self._patch):
                yield self._upright(to_srgb(frame, profile))
            return
        for at in wanted:
            if self.frames > 1:
                self._image.seek(at)
            self._image.load()
            if self._container.cut:
                self.truncated = _lacks_much(self._image, self._container.scans)
            # The next frame would take the place of this one.
            image = self._image.copy() if self.frames > 1 else self._image
            yield self._upright(_coloured(image, profile))

    def _patch(self, patch: Patch) -> Image.Image:
        image = self._decoder(BytesIO(patch.file()))
        image.load()
        return _coloured(image, None).convert("RGBA")

    def _upright(self, image: Image.Image) -> Image.Image:
        return image.transpose(_TRANSPOSED[self._turn]) if self._turn in _TRANSPOSED else image


def _check(container: Container, settings: MediaSettings) -> None:
    pixels = container.width * container.height
    if pixels == 0:
        msg = "a side of 0 pixels"
        raise ValueError(msg)
    pixels = max([pixels, *(patch.width * patch.height for patch in container.patches)])
    # The last frame is among the wanted ones, and can't be decoded without all before it.
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


def _coloured(image: Image.Image, profile: Profile | None) -> Image.Image:
    """A decoded image of any mode as L, RGB or RGBA in sRGB."""
    if image.mode.startswith("I"):  # 16 bits of grey: keep the upper eight
        image = _eight_bits(image)
    if image.mode in ("LA", "L") and image.has_transparency_data:
        grey, alpha = image.convert("LA").split()
        image = to_srgb(grey, profile).convert("RGB")
        image.putalpha(alpha)
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    image = to_srgb(image, profile)
    return image.convert("RGB") if image.mode == "CMYK" else image


def _lacks_much(image: Image.Image, scans: int) -> bool:
    """Of a JPEG without its end: whether later scans may be missing, or its last rows are: decoders leave them grey."""
    there = np.flatnonzero((np.asarray(image) != _UNKNOWN).reshape(image.height, -1).any(1))
    rows = int(there[-1]) + 1 if there.size else 0
    return scans > 1 or image.mode == "CMYK" or rows < image.height * _MOST_ROWS


def _eight_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray((levels >> 8).clip(0, 255).astype(np.uint8))
    key = image.info.get("transparency")
    if key is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(levels == key, 0, 255).astype(np.uint8))))


def _size(image: LoadedImage) -> int:
    return sum(frame.nbytes for frame in image.frames)
