"""Draw the sprites of all pictograms from the Noto Color Emoji font into one sheet.

The font is Debian's `fonts-noto-color-emoji`. The sheet is package data: nothing but the training needs the font.
"""

import os
import shutil
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from moderation_service.demo.glyphs import ALL, ATLAS, CELL, COLUMNS

FONT_PATHS = (
    Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf"),
    Path("/usr/share/fonts/noto-emoji/NotoColorEmoji.ttf"),
)
PACKAGE = "fonts-noto-color-emoji"

STRIKE = 109
"""The only size of which the font holds bitmaps."""


def find_font() -> Path:
    """The font's file, installed where this is root on Debian; else SystemExit saying what is missing."""
    installer = shutil.which("apt-get")
    if not any(path.is_file() for path in FONT_PATHS) and installer and os.geteuid() == 0:
        subprocess.run([installer, "install", "--yes", "--no-install-recommends", PACKAGE], check=False)  # noqa: S603
    for path in FONT_PATHS:
        if path.is_file():
            return path
    msg = f"the font Noto Color Emoji is missing: install Debian's {PACKAGE}, or name the file with --font"
    raise SystemExit(msg)


def sprite(font: ImageFont.FreeTypeFont, glyph: str) -> Image.Image:
    """One glyph, CELL × CELL RGBA, as large as fits and in the middle."""
    canvas = Image.new("RGBA", (2 * STRIKE, 2 * STRIKE), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), glyph, font=font, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None:
        msg = f"the font has no glyph for {glyph}"
        raise SystemExit(msg)
    drawn = canvas.crop(box)
    scale = (CELL - 2) / max(drawn.size)
    small = drawn.resize((round(drawn.width * scale), round(drawn.height * scale)), Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL), (0, 0, 0, 0))
    cell.paste(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return cell


def draw(font_path: Path, to: Path = ATLAS) -> None:
    """Write the sheet of all sprites."""
    font = ImageFont.truetype(str(font_path), STRIKE)
    rows = -(-len(ALL) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL), (0, 0, 0, 0))
    for number, glyph in enumerate(ALL):
        row, column = divmod(number, COLUMNS)
        sheet.paste(sprite(font, glyph), (column * CELL, row * CELL))
    sheet.save(to, "WEBP", quality=85, method=6)
