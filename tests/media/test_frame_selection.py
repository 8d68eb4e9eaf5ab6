"""What the model is shown of an image: both pages behind transparency, tiles of what is long, and what is flagged."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation_service.media.decode import decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MediaSettings
from tests.media.crafted import RGBA, apng, encoded, png, words

INK = words(160, 64)


def read(data: bytes, **changes: Any) -> LoadedImage:
    image = decode(data, MediaSettings(**changes))
    assert image.status == "judged"
    return image


def rgba(ink: tuple[int, int], page: tuple[int, int]) -> bytes:
    """Grey level and opacity of words and of what is around them."""
    levels = np.where(INK[..., None], (ink[0], ink[0], ink[0], ink[1]), (page[0], page[0], page[0], page[1]))
    return png(levels.astype(np.uint8), RGBA)


def contrast(frame: Any) -> float:
    """Of the words."""
    return abs(float(frame[INK].mean()) - float(frame[~INK].mean()))


@pytest.mark.parametrize(
    ("ink", "page"),
    [
        ((255, 255), (0, 0)),  # white words on nothing
        ((235, 255), (0, 0)),
        ((255, 120), (0, 0)),
        ((191, 255), (0, 64)),  # 191 and 191 over white
        ((100, 255), (0, 155)),  # 100 and 100 over white, both dark
    ],
)
def test_words_that_white_conceals_are_shown_on_black_too(ink: tuple[int, int], page: tuple[int, int]) -> None:
    light, dark = read(rgba(ink, page)).frames
    assert contrast(light) < 25
    assert contrast(dark) > 80


@pytest.mark.parametrize(
    ("ink", "page"), [((0, 255), (0, 0)), ((80, 255), (0, 0)), ((0, 255), (255, 255)), ((0, 200), (255, 200))]
)
def test_one_page_is_enough_where_white_conceals_nothing(ink: tuple[int, int], page: tuple[int, int]) -> None:
    (frame,) = read(rgba(ink, page)).frames
    assert contrast(frame) > 80


def test_noise_in_black_does_not_distract_from_white_words() -> None:
    levels = np.zeros((64, 160, 4), np.uint8)
    levels[INK] = 255
    levels[np.random.default_rng(1).random(INK.shape) < 0.3] = (0, 0, 0, 255)
    light, dark = read(png(levels, RGBA)).frames
    assert contrast(light) < 25
    assert contrast(dark) > 80


def test_where_there_is_room_for_one_frame_both_kinds_of_words_are_seen_on_grey() -> None:
    (frame,) = read(rgba((255, 255), (0, 0)), max_frames=1).frames
    assert contrast(frame) > 80
    assert frame[~INK].mean() == 128


def test_pages_of_an_animation_take_no_more_frames_than_are_allowed() -> None:
    moments = [(np.zeros((32, 32, 4), np.uint8), 0, 0, 1, 0) for _ in range(9)]
    for number, (moment, *_) in enumerate(moments):
        moment[:, : 2 * number + 8] = 255
    frames = read(apng(32, 32, moments)).frames
    assert [int((frame == 255).sum()) // 96 for frame in frames] == [32, 8, 32, 24]  # the first and the last


@pytest.mark.parametrize(("size", "tile"), [((1080, 12_000), (1024, 334)), ((12_000, 1080), (334, 1024))])
def test_a_long_image_is_seen_in_tiles_that_overlap(size: tuple[int, int], tile: tuple[int, int]) -> None:
    along = np.linspace(0, 250, max(size)).astype(np.uint8)
    levels = np.broadcast_to(along[:, None] if size[1] > size[0] else along[None], size[::-1])
    image = read(encoded(Image.fromarray(np.ascontiguousarray(levels)), "PNG"))
    assert (image.width, image.height, image.flags) == (*size, ())
    assert [frame.shape[:2] for frame in image.frames] == [tile] * 4
    ends = [(int(frame[0, 0, 0]), int(frame[-1, -1, 0])) for frame in image.frames]
    assert ends[0][0] < 3
    assert ends[-1][1] > 247
    assert all(before[1] > after[0] + 4 for before, after in pairwise(ends))


def test_words_on_the_middle_of_a_long_image_are_whole_in_a_tile() -> None:
    page = np.full((6400, 640), 255, np.uint8)
    page[3168:3232, 240:400][INK] = 0
    image = read(encoded(Image.fromarray(page), "PNG"))
    dark = [float((255 - frame.astype(int)).sum()) for frame in image.frames]
    scale = 1024**2 / 1819**2
    assert max(dark) == pytest.approx(INK.sum() * 255 * 3 * scale, rel=0.1)


@pytest.mark.parametrize(
    ("size", "scale"), [((800, 600), 1), ((4096, 3024), 0.25), ((6144, 100), 0.6), ((6400, 4000), 0.16)]
)
def test_the_scale_of_its_width_and_height_at_which_an_image_is_shown_is_told(
    size: tuple[int, int], scale: float
) -> None:
    assert read(encoded(Image.new("L", size), "PNG")).scale == pytest.approx(scale, abs=0.01)


def photo(**options: Any) -> bytes:
    across, down = np.meshgrid(np.arange(320), np.arange(240))
    levels = np.stack([127 + 100 * np.sin(across / 20), 255 - down, down], -1).astype(np.uint8)
    return encoded(Image.fromarray(levels), "JPEG", quality=95, **options)


@pytest.mark.parametrize("lost", [1, 2, 10])
def test_a_jpeg_that_only_lacks_its_last_bytes_is_judged_like_the_whole(lost: int) -> None:
    whole, cut = read(photo()), read(photo()[:-lost])
    assert cut.flags == ()
    assert np.abs(cut.frames[0].astype(int) - whole.frames[0]).mean() < 1


def test_a_jpeg_of_which_much_is_missing_is_judged_as_far_as_it_goes_and_flagged() -> None:
    data = photo()
    whole, cut = read(data), read(data[: len(data) // 2])
    assert cut.flags == ("truncated",)
    assert np.abs(cut.frames[0][:96].astype(int) - whole.frames[0][:96]).mean() < 1


def test_a_progressive_jpeg_without_its_end_is_flagged_as_it_may_lack_detail() -> None:
    data = photo(progressive=True)
    assert read(data).flags == ()
    assert read(data[: len(data) // 2]).flags == ("truncated",)


@pytest.mark.parametrize("colour", ["white", "black", "red"])
def test_a_blank_jpeg_that_lacks_its_end_is_whole(colour: str) -> None:
    image = read(encoded(Image.new("RGB", (64, 48), colour), "JPEG")[:-2])
    assert (image.flags, len(image.frames)) == ((), 1)
