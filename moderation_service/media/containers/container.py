"""What is known of an image before it is decoded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from moderation_service.media.icc import Profile

Dispose = Literal["keep", "clear", "restore"]
KEEP: Dispose = "keep"
CLEAR: Dispose = "clear"
RESTORE: Dispose = "restore"


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
