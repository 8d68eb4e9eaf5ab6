"""Profiles to sRGB without a browser: what they do, which are ignored, and what they may cost. All: test_browser.py."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation_service.media import icc
from moderation_service.media.decode import decode
from moderation_service.media.loaded_image import LoadedImage
from moderation_service.settings import MIB, MediaSettings
from tests.media.crafted import RGB, Bytes, chunk, encoded, png, points, power, rgb_profile, table_profile, words
from tests.media.shown import PROFILES
from tests.timing import cpu_time_below

INK = words(160, 64)
DIM = np.where(INK, 202, 198).astype(np.uint8)  # words that only a profile makes visible
STEP = points([0] * 200 + [0xFFFF] * 56)
KINDS = {"JPEG": {"quality": 100}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
IGNORED = ("of another space", "no profile", "cut", "an unknown curve", "a curve that falls without end", "no tag")


def read(data: bytes, **changes: Any) -> LoadedImage:
    return decode(data, MediaSettings(**changes))


def contrast(frame: Bytes) -> float:
    return abs(float(frame[INK].mean()) - float(frame[~INK].mean()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", [rgb_profile(STEP), table_profile([0] * 200 + [0xFFFF] * 56)])
def test_words_that_a_profile_makes_visible_are_seen(kind: str, profile: bytes) -> None:
    image = Image.fromarray(DIM).convert("RGB")
    (plain,) = read(encoded(image, kind, **KINDS[kind])).frames
    (seen,) = read(encoded(image, kind, icc_profile=profile, **KINDS[kind])).frames
    assert contrast(plain) < 8
    assert contrast(seen) > 200


@pytest.mark.parametrize("gamma", [1_000, 3_000])
def test_words_that_gamma_makes_visible_are_seen(gamma: int) -> None:
    bright = np.repeat(np.where(INK, 254, 244)[..., None], 3, -1).astype(np.uint8)
    (seen,) = read(png(bright, RGB, chunk(b"gAMA", struct.pack(">I", gamma)))).frames
    assert contrast(seen) > 40


def test_a_profile_is_applied_before_the_image_is_shrunk() -> None:
    """A chequer of levels on both sides of a step: their mean would be on one side."""
    chequer = (196 + 8 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8)
    data = encoded(Image.fromarray(chequer).convert("RGB"), "PNG", icc_profile=rgb_profile(STEP))
    (seen,) = read(data, max_side=16).frames
    assert 110 < seen.mean() < 145


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_profile_is_ignored(kind: str, name: str) -> None:
    image = Image.fromarray(DIM).convert("RGB")
    with_it = read(encoded(image, kind, icc_profile=PROFILES[name], **KINDS[kind]))
    without = read(encoded(image, kind, **KINDS[kind]))
    assert np.array_equal(with_it.frames[0], without.frames[0])


def test_a_broken_table_is_undecodable_rather_than_ignored() -> None:
    whole = table_profile([0, 0xFFFF])
    at = whole.index(b"mft2") + 8
    broken = whole[:at] + b"\xff\xff\xff" + whole[at + 3 :]
    assert read(encoded(Image.new("RGB", (8, 8)), "PNG", icc_profile=broken)).status == "undecodable"


def test_a_profile_that_is_too_large_to_be_read_is_not_passed_over() -> None:
    profile = rgb_profile(power(1))
    huge = struct.pack(">I", 8 * MIB) + profile[4:] + bytes(8 * MIB)
    data = png(np.zeros((8, 8, 3), np.uint8), RGB, chunk(b"iCCP", b"p\0\0" + zlib.compress(huge)))
    assert read(data).status == "undecodable"


@pytest.mark.parametrize("profile", [table_profile([0, 0xFFFF]), PROFILES["fifty times as light"]])
def test_a_large_image_with_a_profile_that_is_costly_to_apply_is_too_large(profile: bytes) -> None:
    with cpu_time_below(5):
        assert read(encoded(Image.new("RGB", (4000, 2001)), "PNG", icc_profile=profile)).status == "too_large"
        assert read(encoded(Image.new("RGB", (400, 200)), "PNG", icc_profile=profile)).status == "judged"


def test_profiles_of_many_overlapping_tags_cost_little() -> None:
    size = 4 * MIB
    tags = b"".join(struct.pack(">4sII", b"%04d" % number, 132, size - 132) for number in range(100))
    header = struct.pack(">I", size) + rgb_profile(power(1))[4:128] + struct.pack(">I", 100)
    with cpu_time_below(1):
        assert icc.read((header + tags).ljust(size, b"\1")) is None
