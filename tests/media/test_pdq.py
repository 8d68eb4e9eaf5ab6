import io

import numpy as np
import pytest
from PIL import Image

from moderation_service.contracts.bank import MAX_PDQ_DISTANCE
from moderation_service.contracts.engine_input import Pixels
from moderation_service.media.pdq import from_hex, pdq, to_hex
from tests.banks.images import PDQ, image


def distances(pixels: Pixels, other: Pixels) -> list[int]:
    """Of an image to each of the eight forms of another."""
    return np.bitwise_count(pdq(pixels).hashes[:1] ^ pdq(other).hashes).sum(axis=1).tolist()


@pytest.mark.parametrize("drawn", PDQ)
def test_hashes_are_those_of_the_reference(drawn: tuple[int, int, int]) -> None:
    quality, hashes = PDQ[drawn]
    found = pdq(image(*drawn))
    assert np.bitwise_count(found.hashes ^ from_hex(list(hashes))).sum(axis=1).max() <= 2
    assert abs(found.quality - quality) <= 1


def test_a_smaller_copy_in_a_poor_jpeg_is_near_and_another_image_is_far() -> None:
    original, packed = image(1, 512, 384), io.BytesIO()
    Image.fromarray(original).resize((250, 190)).save(packed, "JPEG", quality=40)
    copy = np.asarray(Image.open(packed))
    assert distances(original, copy)[0] <= MAX_PDQ_DISTANCE
    assert min(distances(original, image(9, 512, 384))) > 60


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_a_turned_or_flipped_copy_is_near_to_one_of_the_eight(turns: int, step: int) -> None:
    original = image(1, 512, 384)
    copy = np.rot90(original[:, ::step], turns)
    assert min(distances(original, np.ascontiguousarray(copy))) <= MAX_PDQ_DISTANCE


@pytest.mark.parametrize("shape", [(4, 400, 3), (1, 1, 3), (300, 300, 3)])
def test_what_is_tiny_or_of_one_colour_has_no_quality(shape: tuple[int, int, int]) -> None:
    assert pdq(np.full(shape, 200, np.uint8)).quality == 0


def test_hexadecimal_forms_are_read_back() -> None:
    hashes = pdq(image(1, 512, 384)).hashes
    assert from_hex(to_hex(hashes)).tolist() == hashes.tolist()
    assert {len(one) for one in to_hex(hashes)} == {64}
