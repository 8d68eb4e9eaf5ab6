from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from moderation_service.media import decode as decode_module
from moderation_service.media.decode import DecodeCache, decode
from moderation_service.settings import MediaSettings

MakeImage = Callable[..., bytes]
SETTINGS = MediaSettings()
SIDE = 32
BYTES = SIDE * SIDE * 3


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded indeed, in its order."""
    seen: list[bytes] = []
    monkeypatch.setattr(decode_module, "decode", lambda data, *rest: seen.append(data) or decode(data, *rest))
    return seen


def test_a_repost_is_decoded_once_and_gets_the_same_pixels(make_image: MakeImage, decoded: list[bytes]) -> None:
    data, decoder = make_image(size=(SIDE, SIDE)), DecodeCache(SETTINGS)
    first, second = decoder(data), decoder(bytes(data))
    assert decoded == [data]
    assert first == second
    assert np.array_equal(first.frames[0], decode(data, SETTINGS).frames[0])


def test_images_of_other_bytes_are_told_apart(make_image: MakeImage) -> None:
    decoder = DecodeCache(SETTINGS)
    red, blue = decoder(make_image(colour="red")), decoder(make_image(colour="blue"))
    assert red.frames[0][0, 0].tolist() == [255, 0, 0]
    assert blue.frames[0][0, 0].tolist() == [0, 0, 255]


def test_no_more_bytes_are_kept_than_allowed_and_those_asked_for_last_stay(
    make_image: MakeImage, decoded: list[bytes]
) -> None:
    one, two, three = (make_image(size=(SIDE, SIDE), colour=colour) for colour in ("red", "green", "blue"))
    decoder = DecodeCache(SETTINGS, kept_bytes=2 * BYTES)
    for data in (one, two, one, three, one, two):
        decoder(data)
    assert decoded == [one, two, three, two]


def test_an_image_larger_than_all_that_is_kept_is_decoded_each_time(
    make_image: MakeImage, decoded: list[bytes]
) -> None:
    data, decoder = make_image(size=(SIDE, SIDE)), DecodeCache(SETTINGS, kept_bytes=BYTES - 1)
    assert decoder(data).status == decoder(data).status == "judged"
    assert decoded == [data, data]


def test_what_can_not_be_decoded_is_not_kept(decoded: list[bytes]) -> None:
    decoder = DecodeCache(SETTINGS)
    assert decoder(b"\xff\xd8\xff broken").status == decoder(b"\xff\xd8\xff broken").status == "undecodable"
    assert len(decoded) == 2


def test_threads_that_decode_the_same_image_count_its_bytes_once(make_image: MakeImage, decoded: list[bytes]) -> None:
    images = [make_image(size=(SIDE, SIDE), colour=(shade, 0, 0)) for shade in range(0, 256, 64)]
    decoder = DecodeCache(SETTINGS, kept_bytes=len(images) * BYTES)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decoder, images * 50))
    before = len(decoded)
    assert all(decoder(data).status == "judged" for data in images)
    assert len(decoded) == before
