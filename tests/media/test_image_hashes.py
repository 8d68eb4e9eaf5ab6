"""PDQ of an image as it was decoded: whole, whatever the model is shown of it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation_service.media.decode import DecodeCache, decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.media.pdq import ImageHash, pdq
from moderation_service.settings import MediaSettings
from tests.banks.images import image


def read(pixels: Any, kind: str = "PNG", **options: Any) -> LoadedImage:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return decode(out.getvalue(), MediaSettings(max_side=256))


def distance(one: ImageHash, other: ImageHash) -> int:
    return int(np.bitwise_count(one.hashes ^ other.hashes).sum(axis=1).max())


@pytest.mark.parametrize("size", [(300, 200), (1100, 700), (2000, 1500), (220, 2000)])
def test_the_hash_is_of_the_whole_image_before_it_is_shrunk_or_cut_into_tiles(size: tuple[int, int]) -> None:
    pixels = image(1, *size)
    loaded = read(pixels)
    assert max(loaded.frames[0].shape) <= 256
    (found,) = loaded.hashes
    assert distance(found, pdq(pixels)) <= 8


def test_each_moment_of_an_animation_has_a_hash() -> None:
    frames = [image(seed, 200, 150) for seed in (1, 2, 3)]
    loaded = read(
        frames[0], "WEBP", save_all=True, lossless=True, append_images=[Image.fromarray(each) for each in frames[1:]]
    )
    assert [distance(found, pdq(frame)) <= 2 for found, frame in zip(loaded.hashes, frames, strict=True)] == [True] * 3


def test_a_transparent_image_is_known_on_white_and_on_black() -> None:
    ink, page = image(1, 300, 200), image(2, 300, 200)
    clear = np.dstack([ink, np.where(page[..., 0] > 128, 255, 0).astype(np.uint8)])
    opaque = np.dstack([ink, np.full(ink.shape[:2], 255, np.uint8)])
    white, black = read(clear).hashes
    assert distance(white, black) > 31
    (found,) = read(opaque).hashes
    assert distance(found, pdq(ink)) <= 2


def test_a_repost_keeps_its_hashes() -> None:
    out, cache = io.BytesIO(), DecodeCache(MediaSettings())
    Image.fromarray(image(1, 300, 200)).save(out, "PNG")
    assert cache(out.getvalue()).hashes is cache(out.getvalue()).hashes
