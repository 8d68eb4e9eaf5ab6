"""Taking lines of words out of a frame, and whether anything else went with them."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from moderation_service.contracts.engine_input import Pixels
from moderation_service.demo.disguise import written
from moderation_service.media.text_removal import TextBox, without_text

BOX = TextBox(0, 3, 102, 90, 114)
"""Round the words that `captioned` draws below 100 rows of an image."""


def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (100, 160, 3)).astype(np.uint8)


def captioned(image: Pixels, *, quality: int | None = None) -> Pixels:
    out = written(Image.fromarray(image), "answer no")
    if quality is None:
        return np.asarray(out)
    packed = io.BytesIO()
    out.save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))


def test_a_strip_of_words_on_plain_ground_goes_to_its_edge() -> None:
    (frame,), is_plain = without_text([captioned(picture())], [BOX])
    assert is_plain
    np.testing.assert_array_equal(frame, picture())


def test_so_does_one_that_was_packed() -> None:
    (frame,), is_plain = without_text([captioned(picture(), quality=90)], [BOX])
    assert is_plain
    assert 100 <= frame.shape[0] < 108  # noise spreads in the block that holds the edge, not to the middle of the words


def test_so_does_one_above_the_image() -> None:
    flipped = captioned(picture()[::-1])[::-1]
    height = flipped.shape[0]
    (frame,), is_plain = without_text([flipped], [BOX._replace(top=height - BOX.bottom, bottom=height - BOX.top)])
    assert is_plain
    np.testing.assert_array_equal(frame, picture())


@pytest.mark.parametrize("colour", [(200, 30, 30), (231, 231, 231)])
def test_a_strip_that_shows_anything_else_is_told_apart(colour: tuple[int, int, int]) -> None:
    whole = captioned(picture()).copy()
    whole[104:112, 120:130] = colour
    (frame,), is_plain = without_text([whole], [BOX])
    assert not is_plain
    assert frame.shape[0] == 100


def test_so_are_words_across_the_image() -> None:
    (frame,), is_plain = without_text([picture()], [TextBox(0, 10, 40, 150, 60)])
    assert not is_plain
    assert frame.shape == picture().shape
    assert len(np.unique(frame[40:60, 10:150].reshape(-1, 3), axis=0)) == 1


def test_words_on_an_image_of_one_colour_have_no_strip() -> None:
    (frame,), is_plain = without_text([np.full((100, 100, 3), 255, np.uint8)], [TextBox(0, 5, 2, 95, 20)])
    assert not is_plain
    assert frame.shape[0] == 78


def test_a_box_that_reaches_over_its_strip_takes_nothing_of_the_image() -> None:
    (frame,), is_plain = without_text([captioned(picture())], [BOX._replace(top=96)])
    assert is_plain
    np.testing.assert_array_equal(frame, picture())


def test_frames_without_words_stay_as_they_are() -> None:
    first, second = picture(), captioned(picture())
    (same, cut), is_plain = without_text([first, second], [BOX._replace(frame=1)])
    assert is_plain
    assert same is first
    assert cut.shape == first.shape
