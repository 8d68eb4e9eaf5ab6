"""AVIF: size and frames as libavif tells them, and the profile."""

from io import BytesIO

from PIL.AvifImagePlugin import AvifImageFile

from moderation_service.media import icc
from moderation_service.media.containers.container import Container


def read(data: bytes) -> Container:
    """Nothing is decoded yet."""
    image = AvifImageFile(BytesIO(data))
    profile = icc.read(image.info.get("icc_profile", b""))
    return Container(data, *image.size, frames=int(image.n_frames), profile=profile)
