"""PDQ, the perceptual hash of images: 256 bits that stay near when an image is resized or compressed again.

Method: Meta, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019. Luma; two passes of a
box filter; 64 x 64 samples; their DCT, of which the lowest 16 x 16 frequencies but the constant are kept; a bit for
each that is over the median. Filter and sampling are linear, so here they are one matrix for each side of the image.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moderation_service.contracts.engine_input import Pixels

Hashes = NDArray[np.uint64]
"""n x 4: the 256 bits of each hash, the first word as its hexadecimal form begins."""

BITS = 256
WORDS = 4
_SAMPLES = 64
_KEPT = 16
_ALL = np.arange(_SAMPLES)
_PLANE = 2  # dimensions
_LEAST_SIDE = 5  # pixels; what is smaller has no hash
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GRADIENTS_PER_QUALITY = 90
_rows, _columns = np.indices((_KEPT, _KEPT))
_DCT = np.sqrt(2 / _SAMPLES) * np.cos(
    np.pi / (2 * _SAMPLES) * np.outer(np.arange(1, _KEPT + 1), 2 * np.arange(_SAMPLES) + 1)
)
_ODD_ROW, _ODD_COLUMN = (np.where(axis % 2, 1, -1) for axis in (_rows, _columns))


class ImageHash(NamedTuple):
    """The hashes of the image's eight rotations and flips, its own first; `quality` from 0 (one colour) to 100."""

    hashes: Hashes
    quality: int


def pdq(pixels: Pixels) -> ImageHash:
    """The PDQ of an image (RGB, or luma alone), and of its rotations and flips.

    An image under 5 pixels on a side has quality 0.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < _LEAST_SIDE:
        return ImageHash(np.zeros((8, WORDS), np.uint64), 0)
    lines = _sampled(pixels.reshape(height, -1), height)
    luma = lines if pixels.ndim == _PLANE else lines.reshape(_SAMPLES, width, 3) @ _LUMA
    samples = _sampled(luma.T, width).T
    spectrum = _DCT @ samples @ _DCT.T
    turned = spectrum.T
    forms = (
        spectrum,
        turned * _ODD_ROW,
        spectrum * _ODD_ROW * _ODD_COLUMN,
        turned * _ODD_COLUMN,
        spectrum * _ODD_ROW,
        spectrum * _ODD_COLUMN,
        turned,
        turned * _ODD_ROW * _ODD_COLUMN,
    )
    return ImageHash(_bits_over_median(np.stack(forms)), _quality(samples))


def to_hex(hashes: Hashes) -> list[str]:
    """The hexadecimal forms, 64 digits each."""
    return [row.astype(">u8").tobytes().hex() for row in hashes]


def from_hex(values: list[str]) -> Hashes:
    """The reverse. Raises ValueError."""
    return np.frombuffer(bytes.fromhex("".join(values)), ">u8").astype(np.uint64).reshape(-1, WORDS)


def _sampled(lines: NDArray[np.uint8 | np.float32], size: int) -> NDArray[np.float32]:
    """64 filtered samples along the first axis, from only the lines that each of them depends on."""
    at, weights = _filters(size)
    sampled: NDArray[np.float32] = (weights @ lines[at].astype(np.float32, copy=False))[:, 0]
    return sampled


@lru_cache(maxsize=512)
def _filters(size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of the 64 samples of a side of `size` pixels: the lines that count, and their weights; 0 for some.

    The reference's filter: the window is cut at the borders, and what is left of it is averaged.
    """
    window = -(-size // (2 * _SAMPLES))
    ahead = (window + 2) // 2
    at = np.arange(size)
    begins, ends = np.maximum(0, at + ahead - window), np.minimum(size, at + ahead)
    middles = ((_ALL + 0.5) * size / _SAMPLES).astype(int)
    low, high = begins[middles], ends[middles]
    most = int((ends[high - 1] - begins[low]).max())
    first = np.minimum(begins[low], size - most)
    steps = np.zeros((_SAMPLES, most + 1))
    for offset in range(window):
        inner = np.minimum(low + offset, size - 1)
        share = (low + offset < high) / ((high - low) * (ends[inner] - begins[inner]))
        np.add.at(steps, (_ALL, begins[inner] - first), share)
        np.subtract.at(steps, (_ALL, ends[inner] - first), share)
    weights = np.cumsum(steps, axis=1)[:, :-1].astype(np.float32)
    return first[:, None] + np.arange(most), weights[:, None]


def _bits_over_median(spectra: NDArray[np.float64]) -> Hashes:
    flat = spectra.reshape(len(spectra), BITS)
    medians = np.partition(flat, BITS // 2 - 1, axis=1)[:, BITS // 2 - 1, None]
    return np.packbits((flat > medians)[:, ::-1], axis=1).view(">u8").astype(np.uint64)


def _quality(samples: NDArray[np.float32]) -> int:
    steps = sum(int(np.abs(np.trunc(np.diff(samples, axis=axis) * (100 / 255))).sum()) for axis in (0, 1))
    return min(100, steps // _GRADIENTS_PER_QUALITY)
