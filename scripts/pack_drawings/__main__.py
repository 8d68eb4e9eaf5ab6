# ruff: noqa: INP001, T201 - a script
"""Draws the images in `policies/standard/images/`; all names and numbers are invented.

    python scripts/pack_drawings policies/standard/images /usr/share/openclipart/png

The second folder comes with Debian's package `openclipart-png` (public domain), the font with `fonts-noto-cjk`.
"""

import sys
from pathlib import Path

import integrity
import safety
from canvas import DRAWINGS, SIDE, clip, notice, save, screen
from PIL import Image, ImageDraw


def main(folder: Path, clipart: Path) -> None:
    """Draw all images into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    images = {name: Image.new("RGB", (SIDE, SIDE), "white") for name in DRAWINGS}
    for name, draw in DRAWINGS.items():
        draw(ImageDraw.Draw(images[name]))
    for module in (integrity, safety):
        images |= {name: clip(clipart / file) for name, file in module.CLIPART.items()}
        images |= {name: notice(*words) for name, words in module.NOTICES.items()}
        images |= {name: screen(*words) for name, words in module.SCREENS.items()}
        for name, draw, new in module.ADDITIONS:
            images[new] = images[name].copy()
            draw(ImageDraw.Draw(images[new]))
    for name, image in images.items():
        print(name, save(image, folder / f"{name}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
