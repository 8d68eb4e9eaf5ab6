"""A bank of painted images, resized as the processor will resize them, with what is on each of their cells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers.models.glm46v.image_processing_glm46v import smart_resize

from moderation_service.demo.disguise import written
from moderation_service.demo.glyphs import CLASSES, TRAINED
from moderation_service.demo.images import USUAL, Hardship, Painted, Size, choose, paint
from moderation_service.demo.texts import INTENTS, injection, sentence

PATCH = 14
MERGED = 28
"""Pixels on a side of a patch, and of the square of four that becomes one token."""

LEAST_PIXELS = 2 * 112 * 112
MOST_PIXELS = 2 * 112 * 140
"""The processor counts two frames. A square image becomes 112 × 112 and 16 tokens; none has more than 20."""

SIZES: tuple[tuple[Size, float], ...] = (
    ((112, 112), 0.38),
    ((168, 168), 0.12),
    ((96, 96), 0.04),
    ((150, 120), 0.09),
    ((120, 150), 0.09),
    ((160, 90), 0.07),
    ((90, 160), 0.07),
    ((240, 320), 0.07),
    ((320, 240), 0.07),
)
"""Height and width of the images, and how often each."""

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(glyph[0] for name in CLASSES for glyph in TRAINED[name]))
"""The trained pictograms without their skin tones."""

COVERED = 0.22 * 255
"""From how much of a cell on the cell shows its pictogram."""

CAPTIONED = 0.12
"""This share of the images has words below it. They are too small to be read, and mean nothing for the answer."""

SHIFT = 6
"""By so many pixels at most an image is moved each way: too few to change what its cells show."""

CHUNK = 256


@dataclass(frozen=True, slots=True)
class Shelf:
    """The images of one shape. `cells` holds 0 for background, else one more than the family's index."""

    pixels: NDArray[np.uint8]  # [N, H, W, 3]
    classes: NDArray[np.int64]  # [N]
    cells: NDArray[np.int64]  # [N, H/28 · W/28]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.pixels.shape[1] // PATCH, self.pixels.shape[2] // PATCH


@dataclass(frozen=True, slots=True)
class Shot:
    """One image of the bank, before it is put on a shelf."""

    pixels: NDArray[np.uint8]
    cls: int
    cells: NDArray[np.int64]


def resized(size: Size) -> Size:
    """What the processor makes of an image's height and width."""
    height, width = smart_resize(2, *size, factor=MERGED, min_pixels=LEAST_PIXELS, max_pixels=MOST_PIXELS)
    return height, width


def shoot(rng: np.random.Generator, hardship: Hardship, *, unseen: bool = False) -> Shot:
    """Paint one image of any class and resize it as the processor does."""
    number = int(rng.integers(len(CLASSES)))
    glyph = choose(CLASSES[number], rng, unseen=unseen)
    size = SIZES[rng.choice(len(SIZES), p=[share for _, share in SIZES])][0]
    painted = paint(glyph, rng, size=size, hardship=hardship)
    if rng.random() < CAPTIONED:
        painted = _captioned(painted, rng)
    height, width = resized((painted.image.height, painted.image.width))
    across, down = width // MERGED, height // MERGED
    cells = np.zeros((down, across), np.int64)
    for drawn, mask in reversed(painted.cover):
        share = np.asarray(mask.resize((across, down), Image.Resampling.BOX))
        if drawn[0] in _family():
            cells[share > COVERED] = 1 + _family()[drawn[0]]
    image = painted.image
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return Shot(np.array(image), number, cells.reshape(-1))


def fill(count: int, seed: int, hardship: Hardship = USUAL, *, unseen: bool = False, workers: int = 2) -> list[Shelf]:
    """`count` images, the same for the same seed however many processes paint them."""
    shelves: dict[Size, list[Shot]] = {}
    for shot in _shots(count, seed, hardship, unseen=unseen, workers=workers):
        height, width = shot.pixels.shape[:2]
        shelves.setdefault((height, width), []).append(shot)
    return [
        Shelf(
            np.stack([shot.pixels for shot in shots]),
            np.array([shot.cls for shot in shots]),
            np.stack([shot.cells for shot in shots]),
        )
        for _, shots in sorted(shelves.items())
    ]


def varied(shelf: Shelf, at: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """An image mirrored or not and moved a little, and its cells: a bank lasts longer so."""
    height, width = shelf.pixels.shape[1:3]
    roomy = np.pad(shelf.pixels[at], ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    down, right = rng.integers(0, 2 * SHIFT + 1, 2)
    moved = roomy[down : down + height, right : right + width]
    cells = shelf.cells[at].reshape(height // MERGED, width // MERGED)
    if rng.random() < 0.5:
        moved, cells = moved[:, ::-1], cells[:, ::-1]
    return np.ascontiguousarray(moved), cells.reshape(-1)


def merged(one: Sequence[Shelf], other: Sequence[Shelf]) -> list[Shelf]:
    """The images of two banks, shape by shape."""
    kinds: dict[tuple[int, int], list[Shelf]] = {}
    for shelf in (*one, *other):
        kinds.setdefault(shelf.grid, []).append(shelf)
    return [
        Shelf(
            np.concatenate([shelf.pixels for shelf in shelves]),
            np.concatenate([shelf.classes for shelf in shelves]),
            np.concatenate([shelf.cells for shelf in shelves]),
        )
        for shelves in kinds.values()
    ]


def _shots(count: int, seed: int, hardship: Hardship, *, unseen: bool, workers: int) -> Iterator[Shot]:
    chunks = [(seed, start, min(start + CHUNK, count), hardship, unseen) for start in range(0, count, CHUNK)]
    # Fresh processes: a fork of one that has run torch's threads can hang.
    with get_context("spawn").Pool(workers) as pool:
        for shots in pool.imap(_chunk, chunks):
            yield from shots


def _chunk(job: tuple[int, int, int, Hardship, bool]) -> list[Shot]:
    seed, start, end, hardship, unseen = job
    return [shoot(np.random.default_rng([seed, number]), hardship, unseen=unseen) for number in range(start, end)]


def _captioned(painted: Painted, rng: np.random.Generator) -> Painted:
    """The same image above a sentence or an order to the model."""
    intent = INTENTS[rng.integers(len(INTENTS))]
    text = injection("en", rng) if rng.random() < 0.5 else sentence(intent, "en", rng)
    image = written(painted.image, text)

    def taller(mask: Image.Image) -> Image.Image:
        grown = Image.new("L", image.size, 0)
        grown.paste(mask)
        return grown

    return Painted(image, tuple((glyph, taller(mask)) for glyph, mask in painted.cover))


@cache
def _family() -> dict[str, int]:
    return {family: number for number, family in enumerate(FAMILIES)}
