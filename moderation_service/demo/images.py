"""Paint an image: one pictogram of a class on a made-up background, and perhaps small neutral things beside it.

Nothing here needs torch. The same generator gives the same image.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moderation_service.demo.glyphs import CELL, TRAINED, UNSEEN, ImageClass, sprites

Size = tuple[int, int]
"""Height and width."""

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Painted:
    """An image, and which pictogram covers what: (glyph, mask height × width, 0 to 255), the main one first."""

    image: Image.Image
    cover: tuple[tuple[str, Image.Image], ...]


def render(cls: ImageClass, rng: np.random.Generator, *, unseen: bool = False, size: Size = (112, 112)) -> Image.Image:
    """An image of the class; with `unseen`, of a pictogram the model was never trained on."""
    return paint(choose(cls, rng, unseen=unseen), rng, size=size).image


def choose(cls: ImageClass, rng: np.random.Generator, *, unseen: bool = False) -> str:
    """A pictogram of the class. All skin tones of one count as one, so that they are not drawn six times as often."""
    table = (UNSEEN if unseen else TRAINED)[cls]
    bases = sorted({glyph[0] for glyph in table})
    base = bases[rng.integers(len(bases))]
    kin = [glyph for glyph in table if glyph[0] == base]
    return kin[rng.integers(len(kin))]


@dataclass(frozen=True, slots=True)
class Hardship:
    """How much is done to an image. All but `inside` and `turned` are ranges."""

    side: tuple[float, float]
    inside: float
    saturation: tuple[float, float]
    turned: float
    hue: float
    stretch: float
    blur: float
    light: float
    contrast: tuple[float, float]
    noise: float


USUAL = Hardship((0.48, 0.85), 0.4, (0.5, 1.25), 0.1, 0.5, 0.14, 1.0, 24, (0.8, 1.15), 10)
ROUGH = Hardship((0.42, 0.82), 0.33, (0.35, 1.3), 0.2, 0.9, 0.18, 1.2, 28, (0.75, 1.2), 12)
"""What posts' images go through, and what the vision tower is first trained on."""


def paint(glyph: str, rng: np.random.Generator, *, size: Size = (112, 112), hardship: Hardship = USUAL) -> Painted:
    """The pictogram on a background of `size`, with what a camera and an upload do to it."""
    height, width = size
    side = min(height, width)
    image = _background(size, rng)
    cover: list[tuple[str, Image.Image]] = []
    for _ in range(rng.choice(3, p=(0.5, 0.3, 0.2))):
        beside = choose("neutral", rng)
        cover.append((beside, _place(image, beside, side * rng.uniform(0.15, 0.28), rng, hardship, anywhere=True)))
    main = _place(image, glyph, side * rng.uniform(*hardship.side), rng, hardship, anywhere=False)
    return Painted(_worn(image, rng, hardship), ((glyph, main), *cover))


def _background(size: Size, rng: np.random.Generator) -> Image.Image:
    """A gradient, stripes, blobs or one plain colour."""
    height, width = size
    kind = rng.integers(4)
    one, two = rng.uniform(20, 255, (2, 3)).astype(np.float32)
    if kind == 0:
        coarse = rng.uniform(20, 255, (int(rng.integers(2, 6)), int(rng.integers(2, 6)), 3)).astype(np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    if kind == 1:
        return Image.new("RGB", (width, height), tuple(int(part) for part in one))
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    along = (np.cos(angle) * xs + np.sin(angle) * ys) / max(height, width)
    share = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    if kind == 2:
        share = 0.5 + 0.5 * np.sin(share * rng.uniform(8, 50))
    blend = one + (two - one) * share[..., None].astype(np.float32)
    return Image.fromarray(blend.astype(np.uint8))


def _tinted(sprite: NDArray[np.uint8], rng: np.random.Generator, hardship: Hardship) -> NDArray[np.uint8]:
    """Change saturation and, now and then, the hue, so that no class is known by a colour alone."""
    colour = sprite[..., :3].astype(np.float32)
    grey = colour.mean(-1, keepdims=True)
    colour = grey + (colour - grey) * np.float32(rng.uniform(*hardship.saturation))
    if rng.random() < hardship.turned:
        turn = rng.uniform(-hardship.hue, hardship.hue)
        # A turn about the grey axis of the colour cube leaves the brightness as it was.
        cos, sin, third = np.cos(turn), np.sin(turn) / np.sqrt(3), (1 - np.cos(turn)) / 3
        row = np.array([cos + third, third - sin, third + sin])
        colour = colour @ np.stack([row, np.roll(row, 1), np.roll(row, 2)]).astype(np.float32)
    return np.concatenate([np.clip(colour, 0, 255).astype(np.uint8), sprite[..., 3:]], -1)


def _place(
    onto: Image.Image, glyph: str, side: float, rng: np.random.Generator, hardship: Hardship, *, anywhere: bool
) -> Image.Image:
    """Draw the glyph about `side` pixels large; what comes back is where it covers the image."""
    drawn = Image.fromarray(_tinted(sprites()[glyph], rng, hardship))
    if rng.random() < 0.5:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stretch = np.exp(rng.uniform(-hardship.stretch, hardship.stretch))
    # Room for the corners, so that a turn cuts nothing off.
    roomy = Image.new("RGBA", (CELL * 3 // 2, CELL * 3 // 2))
    roomy.paste(drawn, (CELL // 4, CELL // 4))
    roomy = roomy.rotate(rng.uniform(-32, 32), Image.Resampling.BILINEAR)
    wide, high = max(8, round(1.5 * side * stretch)), max(8, round(1.5 * side / stretch))
    roomy = roomy.resize((wide, high), Image.Resampling.BILINEAR, reducing_gap=2.0)
    # The middle of the main pictogram stays well inside; a little of it may leave the image.
    slack = 0.05 if anywhere else hardship.inside * side / min(onto.size)
    x = round(rng.uniform(slack, 1 - slack) * onto.width - wide / 2)
    y = round(rng.uniform(slack, 1 - slack) * onto.height - high / 2)
    mask = roomy.getchannel("A")
    onto.paste(roomy, (x, y), mask)
    cover = Image.new("L", onto.size, 0)
    cover.paste(mask, (x, y))
    return cover


def _worn(image: Image.Image, rng: np.random.Generator, hardship: Hardship) -> Image.Image:
    """Brightness, contrast, blur, noise and JPEG."""
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, hardship.blur)))
    light, contrast = rng.uniform(-hardship.light, hardship.light), rng.uniform(*hardship.contrast)
    values = np.arange(256, dtype=np.float32)
    curve = np.clip((values - 128) * contrast + 128 + light, 0, 255).astype(np.uint8)
    image = image.point(list(curve.tolist()) * 3)
    if rng.random() < 0.35:
        pixels = np.asarray(image, dtype=np.float32)
        noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(2, hardship.noise))
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.8:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=int(rng.integers(35, 93)))
        image = Image.open(packed).convert("RGB")
    return image
