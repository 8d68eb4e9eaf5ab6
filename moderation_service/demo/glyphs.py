"""The pictograms of the demonstration: which there are, to which class each belongs, and their sprites.

The sprites were drawn from the Noto Color Emoji font by `demo_model.sprite_sheet`, so that
nothing but the training needs the font. Its licence lies in `glyphs.LICENSE`.
"""

from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ImageClass = Literal["weapon", "medical", "money", "child", "animal", "gore", "neutral"]
CLASSES: tuple[ImageClass, ...] = get_args(ImageClass)

CELL = 112
COLUMNS = 16
ATLAS = Path(__file__).with_name("glyphs.webp")

SKIN = "🏻🏼🏽🏾🏿"
"""A pictogram followed by `*` below stands for itself and its five skin tones."""

_TRAINED: dict[ImageClass, str] = {
    "weapon": "🔫 🔪 ⚔ 🏹 💣 🪓 🔱 🪃 🤺 🥷",
    "medical": "💊 💉 🩹 🩺 🏥 🚑 🌡 🧪 🧬 😷 🩻 🦷 🩼 🔬 🤕 🧫 🤧 🤢 ⚕ 🥼",
    "money": "💰 💵 💴 💷 💸 💳 🤑 📈 🏦 🏧 💲 🪙 💱 📉 🧾",
    "child": "👶* 👦* 🧒* 🍼 🚼 👼*",
    "animal": (
        "🐁 🐒 🐖 🐕 🐍 🐷 🐵 🐶 🐗 🐸 🐔 🐓 🐑 🐐 🐮 🐭 🐹 🦝 🦨 🦊 🐻 🐼 🐨 🐯 🦁 🐎 🐿 🦇 🐜 🪳 🪲 🕷 🐛 🐃 🐂"
        " 🐪 🦙 🐇 🐰 🐴 🦌 🐊 🦎 🐢 🦘 🦡 🦃 🦛 🦏 🐘 🦓 🐏 🐩 🐈 🐅 🦧 🦫 🦦 🦥 🐫 🦒 🐕‍🦺 🦮 🐈‍⬛ 🐻‍❄️ 🐱"
        " 🦣 🐽 🙈 🙉 🐲 🦟 🪰 🪱 🐌 🦗 🐝 🐞 🦂 🐧 🐦 🦅 🦆 🦉 🐥 🐣 🦢 🦚 🦜 🦩 🕊 🐟 🐠 🐡 🦈 🐬 🐳 🐋 🦭 🐙"
        " 🦑 🦀 🦞"
    ),
    "gore": "🩸 💀 ⚰ 🪦 🧟 🧟‍♂️ 🦴 🫀 🧠 ⚱ 🧛* 🫁",
    "neutral": (
        "🍎 🍕 🍔 🍰 🍩 🍓 🍉 🍇 🥑 🥕 🌽 🍞 🧀 🍜 🍣 ☕ 🍵 🌸 🌻 🌹 🌵 🌲 🍁 🌈 ☀ 🌙 ⭐ ⛄ 🚗 🚌 🚲 🚂 🚀 ⛵"
        " 🏠 🏰 ⛺ 🌋 ⚽ 🏀 🎾 🎸 🎹 🎨 🎈 🎁 📚 📷 💻 📱 ⌚ 👕 👟 👒 🎒 🔑 🪑 🛋 🛁 🧦 🎻 🏆 🧩 🪁 ☂ 🕯 🗺 🧭 😀"
        " 😎 🥳 🍍 🥭 🍑 🍒 🍋 🍊 🍐 🥝 🫐 🥥 🍅 🍆 🥔 🧅 🧄 🥦 🥬 🥒 🌶 🫑 🍄 🥜 🌰 🥐 🥖 🥨 🥯 🥞 🧇 🥚 🍳 🥓"
        " 🍟 🌭 🥪 🌮 🌯 🍿 🥗 🍝 🍱 🍙 🍚 🍛 🥟 🍦 🍧 🍨 🍪 🎂 🧁 🥧 🍫 🍬 🍭 🍮 🍯 🥛 🍷 🍸 🍹 🍺 🧋 🫖 🧃 🍶"
        " 🥄 🏺 💐 🌺 🌼 🏵 🪷 🌾 🍀 🍂 🌴 🌳 🪴 🌿 🪨 🪵 🌍 🌕 ☁ ⛅ 🌧 ❄ 🔥 💧 🌊 ⚡ 🏔 🏖 🏜 🏝 🏛 🏢 🏫 🏭 🏯 🏨 🏪"
        " ⛪ 🗼 🗽 ⛲ 🎡 🎢 🎪 🚙 🚚 🛻 🏎 🏍 🛵 🛴 🚐 🚒 🚓 🚁 ✈ 🚢 🛶 🚆 🚇 🚜 🛹 ⚓ 🚦 🪂 ⚾ 🏈 🏉 🎱 🏓 🏸 🥅"
        " ⛳ 🥋 ⛸ 🎿 🥌 🏒 🎳 🎯 🎮 🎲 ♟ 🃏 🎭 🎟 🎷 🪗 🥁 🪕 🎤 🎧 📻 🎬 🖥 🖨 ⌨ 🖱 📺 🔋 🔌 💡 🔦 📦 ✉ 📫 📅 📌"
        " 📎 🖊 ✏ 🖍 📏 📐 🗑 🔒 🔔 📣 🧲 🧱 🪜 🧹 🧺 🧻 🧼 🪣 🛒 🚪 🪟 🛏 🚿 🧽 🪞 🖼 🧵 🧶 🔨 🔧 🔭 🧴 🎣 📕 📗 📘"
        " 📓 📔 📰 🔖 👔 🧥 👖 👗 👠 🥾 🧤 🧣 🎩 👑 💍 💎 👜 💼 🕶 🥽 🎓 ⛑ 🪭 🎀 🪄 🎊 🏮 🪅 😂 😉 😍 😴 🤓 🥰"
        " 😭 🤠 😇 👍 👏"
    ),
}

_UNSEEN: dict[ImageClass, str] = {
    "weapon": "🗡 🧨",
    "medical": "⚗ 🤒",
    "money": "💶 💹",
    "child": "👧*",
    "animal": "🐀 🐺 🐄 🦍 🐆",
    "gore": "☠ 🧟‍♀️",
    "neutral": "🍌 🌷 🚕 🏡 🏐 🎺 📖 🧢",
}


def _spelled(marks: str) -> tuple[str, ...]:
    """The glyphs of one line of the tables, skin tones written out."""
    found: list[str] = []
    for mark in marks.split():
        base = mark.removesuffix("*")
        found.append(base)
        if mark.endswith("*"):
            found.extend(base + tone for tone in SKIN)
    return tuple(found)


TRAINED: dict[ImageClass, tuple[str, ...]] = {name: _spelled(marks) for name, marks in _TRAINED.items()}
UNSEEN: dict[ImageClass, tuple[str, ...]] = {name: _spelled(marks) for name, marks in _UNSEEN.items()}
"""Kept out of training for good: what the model does with them is a figure of its own."""

ALL: tuple[str, ...] = tuple(glyph for table in (TRAINED, UNSEEN) for name in CLASSES for glyph in table[name])


@cache
def sprites() -> dict[str, NDArray[np.uint8]]:
    """Each glyph's sprite, CELL × CELL × 4 (RGBA)."""
    with Image.open(ATLAS) as opened:
        sheet = np.asarray(opened.convert("RGBA"))
    cells: dict[str, NDArray[np.uint8]] = {}
    for number, glyph in enumerate(ALL):
        row, column = divmod(number, COLUMNS)
        cells[glyph] = sheet[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    return cells
