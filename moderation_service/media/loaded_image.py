"""What becomes of one reference to an image."""

from dataclasses import dataclass, field

from moderation_service.contracts.engine_input import Pixels
from moderation_service.contracts.enums import ImageFlag, ImageStatus
from moderation_service.media.pdq import ImageHash
from moderation_service.media.text_removal import TextBox


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """One image, or why there is none.

    `sha256` (hex) is of the bytes as they came, where they were had; `media_type` is read off those bytes; `data` are
    those bytes, where the loader keeps them. `width` and `height` are the original's in pixels after its EXIF
    orientation, where the header told them; the frames have `scale` of them. `hashes` are PDQ's, of whole frames
    (before tiles are cut), the first frame's first. `text` is the words that OCR read, and
    `text_boxes` where; `is_text_missing`: it failed, and may read some the next time.
    """

    status: ImageStatus
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    frames: tuple[Pixels, ...] = ()
    media_type: str | None = None
    flags: tuple[ImageFlag, ...] = ()
    scale: float = 1.0
    hashes: tuple[ImageHash, ...] = ()
    text: str = ""
    text_boxes: tuple[TextBox, ...] = ()
    is_text_missing: bool = False
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """The images of one post, in its order.

    They load side by side: `fetch_ms` and `decode_ms` are those of the slowest image, its waiting included;
    `decode_ms` counts the reading of words too.
    """

    images: tuple[LoadedImage, ...]
    fetch_ms: float
    decode_ms: float

    @property
    def is_whole(self) -> bool:
        """Whether each image was had and its words were read: loading the same bytes again gives the same."""
        return all(image.sha256 and not image.is_text_missing for image in self.images)


class ImageFault(Exception):  # noqa: N818 - a fault of the image, not of the program
    """This image can't be loaded. Never leaves the package; `why` names no address and no content."""

    def __init__(self, *, status: ImageStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class TransientFault(ImageFault):
    """The same try may go through in a moment."""

    def __init__(self, *, why: str) -> None:
        super().__init__(status=ImageStatus.UNAVAILABLE, why=why)
