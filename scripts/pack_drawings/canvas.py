# ruff: noqa: INP001 - a script's module, whose numbers are places in drawings
"""What all drawings are made with: colours, words, people, notices and screens."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc"
SIMPLIFIED = 2  # the font's number in the collection
SIDE = 400
COLOURS = 48
INK, PAPER, GREY, RED, BLUE, GREEN, SKIN = "#222222", "#fbfaf5", "#8a8f98", "#c62828", "#1f4e8c", "#2e7d32", "#e3b58f"
Draw = Callable[[ImageDraw.ImageDraw], None]
DRAWINGS: dict[str, Draw] = {}


def drawing(draw: Draw) -> Draw:
    """Register a drawing under its function's name."""
    DRAWINGS[draw.__name__] = draw
    return draw


def save(image: Image.Image, path: Path) -> int:
    """Write a small PNG, and give its bytes."""
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def clip(file: Path) -> Image.Image:
    """Clip art in the middle of a white square."""
    clip = Image.open(file).convert("RGBA")
    clip = clip.crop(clip.getbbox())
    scale = (SIDE - 60) / max(clip.size)
    clip = clip.resize((round(clip.width * scale), round(clip.height * scale)), Image.Resampling.LANCZOS)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    image.paste(clip, ((SIDE - clip.width) // 2, (SIDE - clip.height) // 2), clip)
    return image


def font(size: int) -> ImageFont.FreeTypeFont:
    """The font in one size."""
    return ImageFont.truetype(FONT, size, index=SIMPLIFIED)


def write(on: ImageDraw.ImageDraw, at: tuple[float, float], words: str, size: int, colour: str = INK) -> None:
    """Words from their upper left corner."""
    on.text(at, words, font=font(size), fill=colour)


def centre(on: ImageDraw.ImageDraw, y: float, words: str, size: int, colour: str = INK) -> None:
    """Words in the middle of a line."""
    on.text((SIDE / 2, y), words, font=font(size), fill=colour, anchor="ma")


def notice(background: str, ink: str, lines: tuple[str, ...]) -> Image.Image:
    """A framed notice of at most four lines."""
    image = Image.new("RGB", (SIDE, SIDE), background)
    on = ImageDraw.Draw(image)
    on.rectangle((12, 12, SIDE - 13, SIDE - 13), outline=ink, width=4)
    for number, words in enumerate(lines):
        centre(on, 50 + 82 * number, words, 31, ink)
    return image


def screen(bar: str, title: str, lines: tuple[str, ...]) -> Image.Image:
    """A phone's screen: a bar with a title, and lines below."""
    image = Image.new("RGB", (SIDE, SIDE), "#eceff1")
    on = ImageDraw.Draw(image)
    on.rectangle((0, 0, SIDE, 78), fill=bar)
    on.ellipse((14, 12, 68, 66), fill="#ffffff")
    on.ellipse((31, 20, 51, 40), fill=bar)
    on.chord((23, 40, 59, 84), 180, 360, fill=bar)
    write(on, (84, 20), title, 26, "white")
    on.rounded_rectangle((16, 100, SIDE - 16, 130 + 52 * len(lines)), 18, fill="white")
    for number, words in enumerate(lines):
        write(on, (32, 112 + 52 * number), words, 23)
    return image


def person(on: ImageDraw.ImageDraw, x: int, y: int, height: int, clothes: str = BLUE) -> None:
    """Head and shoulders, the top of the head at (x, y)."""
    head = height // 2
    on.chord((x - height // 2, y + head, x + height // 2, y + 2 * height), 180, 360, fill=clothes)
    on.ellipse((x - head // 2, y, x + head // 2, y + int(head * 1.15)), fill=SKIN)
    on.chord((x - head // 2, y - 4, x + head // 2, y + head), 180, 360, fill="#4e342e")
    eye = y + head * 6 // 10
    for side in (-1, 1):
        on.ellipse((x + side * head // 5 - 3, eye - 3, x + side * head // 5 + 3, eye + 3), fill=INK)
    on.arc((x - head // 5, eye, x + head // 5, y + head), 20, 160, fill=INK, width=2)
