"""Frames of animations, against a compositor written from the formats' specifications."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from moderation_service.media.containers import Patch, compose_frames
from moderation_service.media.decode import decode, read_container
from moderation_service.settings import MediaSettings
from tests.media.animations import SIDE, random_apng, random_gif
from tests.media.crafted import apng
from tests.media.reference import Frame, compose

Make = Callable[[int], tuple[bytes, list[Frame]]]


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize(("make", "media_type"), [(random_apng, "image/png"), (random_gif, "image/gif")])
def test_every_way_to_dispose_and_to_blend_gives_the_frames_of_the_specification(
    make: Make, media_type: str, seed: int
) -> None:
    data, frames = make(seed)
    container = read_container(data, media_type)
    ours = compose_frames(
        container, range(len(frames)), lambda patch: Image.open(BytesIO(patch.file())).convert("RGBA")
    )
    for image, wanted in zip(ours, compose(SIDE, SIDE, frames), strict=True):
        levels = np.asarray(image, float)
        opacity = levels[..., 3:] / 255
        assert np.abs(levels[..., :3] * opacity - wanted[..., :3]).max() < 3
        assert np.abs(opacity - wanted[..., 3:]).max() < 0.01


def test_only_the_wanted_frames_are_given_and_none_behind_them_is_decoded() -> None:
    data, frames = random_apng(1)
    decoded: list[int] = []

    def decode_one(patch: Patch) -> Image.Image:
        decoded.append(patch.left)
        return Image.open(BytesIO(patch.file())).convert("RGBA")

    ours = list(compose_frames(read_container(data, "image/png"), [0, 2], decode_one))
    every = list(compose(SIDE, SIDE, frames))
    assert len(decoded) == 3
    for image, wanted in zip(ours, [every[0], every[2]], strict=True):
        assert np.abs(np.asarray(image, float)[..., 3] / 255 - wanted[..., 3]).max() < 0.01


@pytest.mark.parametrize(("left", "width"), [(8, 8), (0, 0)])
def test_a_frame_beyond_the_canvas_is_undecodable(left: int, width: int) -> None:
    whole = np.full((SIDE, SIDE, 4), 255, np.uint8)
    data = apng(SIDE, SIDE, [(whole, 0, 0, 0, 0), (whole[:, :width], left, 0, 0, 0)])
    assert decode(data, MediaSettings()).status == "undecodable"


def test_a_small_animation_with_a_frame_far_beyond_its_screen_is_not_enlarged_by_it() -> None:
    data, _ = random_gif(3)
    image = decode(data, MediaSettings())
    assert (image.width, image.height) == (SIDE, SIDE)
