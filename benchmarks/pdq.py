"""What PDQ survives: recall of copies and false matches of other images, by the distance that counts as near."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from PIL.Image import Transpose

from benchmarks.command_line import main
from moderation_service.contracts.bank import MAX_PDQ_DISTANCE, MIN_PDQ_QUALITY
from moderation_service.demo.disguise import written
from moderation_service.demo.glyphs import TRAINED
from moderation_service.demo.images import paint
from moderation_service.media.pdq import BITS, Hashes, pdq

DISTANCES = tuple(range(41))
_SIDES = (320, 640)
_WAVES, _BOXES = 6, 8


def _jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def packed(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return packed


def _scaled(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((round(image.width * share), round(image.height * share)))


def _cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    """Without `share` of the width and height, half of it on each side."""

    def crop(image: Image.Image) -> Image.Image:
        across, down = round(image.width * share / 2), round(image.height * share / 2)
        return image.crop((across, down, image.width - across, image.height - down))

    return crop


def _bordered(share: float) -> Callable[[Image.Image], Image.Image]:
    """With a white border of `share` of the shorter side, all around."""
    return lambda image: ImageOps.expand(image, round(min(image.size) * share), "white")


def _letterboxed(image: Image.Image) -> Image.Image:
    return ImageOps.pad(image, (max(image.size),) * 2, color="black")


def _overprinted(image: Image.Image) -> Image.Image:
    out, size = image.copy(), max(10, image.width // 12)
    place = image.width // 10, image.height - 2 * size
    ImageDraw.Draw(out).text(
        place, "when you see it", "white", ImageFont.load_default(size), stroke_width=2, stroke_fill="black"
    )
    return out


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "scaled to 150%": _scaled(1.5),
    "scaled to 50%": _scaled(0.5),
    "scaled to 25%": _scaled(0.25),
    **{f"JPEG {quality}": _jpeg(quality) for quality in (90, 70, 50, 30)},
    "blur, 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blur, 3 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "words over it": _overprinted,
    "caption below": lambda image: written(image, "nobody will ever believe what happened here today"),
    "crop 2%": _cropped(0.02),
    "crop 5%": _cropped(0.05),
    "crop 10%": _cropped(0.1),
    "border 2%": _bordered(0.02),
    "border 5%": _bordered(0.05),
    "letterbox": _letterboxed,
    "rotated by 2°": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
    "rotated by 5°": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "flipped": lambda image: image.transpose(Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Transpose.FLIP_TOP_BOTTOM),
    "rotated by 90°": lambda image: image.transpose(Transpose.ROTATE_90),
    "rotated by 180°": lambda image: image.transpose(Transpose.ROTATE_180),
}


def run(*, images: int = 2000, seed: int = 1, folder: Path | None = None, plot: Path | None = None) -> dict[str, Any]:
    """Hash images and copies of each. `upright`: by the copy's own hash; `turned`: by its eight forms, as banks match.

    Recall is of copies whose original has the quality of a bank's entry; a copy under it counts as missed. False
    matches are of pairs of two originals.

    Args:
        images: Originals; without a folder half painted by the demo, half of waves and boxes.
        seed: Of the originals, or of which are taken.
        folder: PNG files to take the originals from.
        plot: An SVG or PNG file to draw the curves into.
    """
    originals, qualities, found = list[Hashes](), list[int](), {name: list[tuple[int, int]]() for name in COPIES}
    for image in _of_folder(folder, images, seed) if folder else made(images, seed):
        original = pdq(np.asarray(image))
        originals.append(original.hashes)
        qualities.append(original.quality)
        if original.quality < MIN_PDQ_QUALITY:
            continue
        for name, change in COPIES.items():
            copy = pdq(np.asarray(change(image)))
            distances = _distances(copy.hashes, original.hashes[0])
            missed = BITS * (copy.quality < MIN_PDQ_QUALITY)
            found[name].append((max(missed, int(distances[0])), max(missed, int(distances.min()))))
    good = np.array(qualities) >= MIN_PDQ_QUALITY
    recall = {name: np.array(rows) for name, rows in found.items()}
    false = _false(np.stack(originals)[good])
    figures: dict[str, Any] = {
        "images": len(originals),
        "under_quality": int((~good).sum()),
        "pairs": int(good.sum() * (good.sum() - 1) // 2),
        "upright": {name: _curve(rows[:, 0]) for name, rows in recall.items()},
        "turned": {name: _curve(rows[:, 1]) for name, rows in recall.items()},
        "false_pairs": false,
    }
    if plot:
        _draw(figures["turned"], plot)
    return figures


def made(count: int, seed: int) -> Iterator[Image.Image]:
    """As many images: half painted by the demo, half of waves and boxes."""
    rng = np.random.default_rng(seed)
    glyphs = [glyph for table in TRAINED.values() for glyph in table]
    for number in range(count):
        height, width = (int(side) for side in rng.integers(*_SIDES, 2))
        if number % 2:
            yield _waves_and_boxes(height, width, rng)
        else:
            yield paint(glyphs[number // 2 % len(glyphs)], rng, size=(height, width)).image.convert("RGB")


def _waves_and_boxes(height: int, width: int, rng: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    made = np.zeros((height, width, 3), np.float32)
    for across, down, phase, *weights in rng.uniform(0, 1, (_WAVES, 6)):
        wave = np.sin(2 * np.pi * (9 * across * x / width + 9 * down * y / height + phase))
        made += wave[..., None] * np.array(weights, np.float32)
    for left, top, wide, high, *colour in rng.uniform(0, 1, (_BOXES, 7)):
        rows = slice(int(top * height), int((top + high / 2) * height))
        made[rows, int(left * width) : int((left + wide / 2) * width)] += 3 * (np.array(colour) - 0.5)
    return Image.fromarray((127 + 40 * made).clip(0, 255).astype(np.uint8))


def _of_folder(folder: Path, count: int, seed: int) -> Iterator[Image.Image]:
    paths = sorted(path for path in folder.rglob("*.png") if not path.is_symlink())
    for path in np.random.default_rng(seed).permutation(np.array(paths, object))[:count]:
        with Image.open(path) as opened:
            opened.thumbnail((_SIDES[1],) * 2)
            drawing = opened.convert("RGBA")
        yield Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing).convert("RGB")


def _distances(hashes: Hashes, others: Hashes) -> NDArray[np.int64]:
    counted: NDArray[np.int64] = np.bitwise_count(hashes ^ others).sum(axis=-1, dtype=np.int64)
    return counted


def _curve(distances: NDArray[np.int64]) -> list[float]:
    """The share within each distance of DISTANCES."""
    return [round(float((distances <= most).mean()), 4) for most in DISTANCES]


def _false(hashes: NDArray[np.uint64]) -> dict[str, list[int]]:
    """Pairs of originals within each distance."""
    counts = np.zeros((2, len(DISTANCES)), np.int64)
    for number in range(1, len(hashes)):
        distances = _distances(hashes[number][:, None], hashes[:number, 0])
        for form, least in enumerate((distances[0], distances.min(axis=0))):
            counts[form] += np.searchsorted(np.sort(least), DISTANCES, side="right")
    return {name: [int(count) for count in row] for name, row in zip(("upright", "turned"), counts, strict=True)}


def _draw(curves: dict[str, list[float]], path: Path) -> None:
    """Recall by distance, the copies named from the best to the worst; the greatest bound of a bank is dotted."""
    import matplotlib as mpl  # noqa: PLC0415 - only who asks for a plot needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "pdq", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(8, 4.4), layout="constrained")
        axes = figure.subplots()
        ranked = sorted(curves.items(), key=lambda item: -item[1][MAX_PDQ_DISTANCE])
        for number, (name, curve) in enumerate(ranked):
            axes.plot(DISTANCES, curve, ("-", "--", ":")[number // 10], color=f"C{number % 10}", label=name)
        axes.axvline(MAX_PDQ_DISTANCE, color="#8d97a6", linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlabel="PDQ distance, bits", ylabel="recall of copies", ylim=(-0.02, 1.02))
        figure.legend(frameon=False, fontsize=8, loc="outside right center")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main(run)
