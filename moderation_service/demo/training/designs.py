"""The trained pictograms as other hands drew them, and silhouettes of things of each class: training alone sees them.

The vision tower then learns what a thing is, and not how one font draws it. The drawings come from the npm packages
of Iconify: Fluent Emoji (MIT), Noto Emoji's first design (Apache-2.0), EmojiOne 2 (CC BY 4.0) and game-icons.net
(CC BY 3.0). None of the pictograms kept out of training is among them, and no silhouette of the same thing.
"""

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from moderation_service.demo.glyphs import CELL, CLASSES, SKIN, TRAINED, PictureClass

EMOJI = {"fluent-emoji-flat": "1.2.6", "noto-v1": "1.2.5", "emojione": "1.2.3"}
NAMES = {"fluent-emoji-flat": "1.2.6", "twemoji": "1.2.5", "noto": "1.2.9"}
"""Packages that say which name an emoji has; the older two designs only know names."""
ICONS = ("game-icons", "1.2.4")

DRAWN_APART = 0.55
"""The share of training pictures that show a drawing of another hand."""
SILHOUETTES_AMONG = 0.4

SILHOUETTES: dict[PictureClass, str] = {
    "weapon": (
        "ak47 ak47u autogun battle-axe bayonet blunderbuss bowie-knife broadsword butterfly-knife c96 cleaver"
        " colt-m1911 crossbow crossed-axes crossed-pistols crossed-sabres crossed-swords cz-skorpion desert-eagle"
        " famas fire-axe flail fn-fal flanged-mace gladius glock grenade halberd hatchet hatchets katana"
        " kitchen-knives lee-enfield luger mac-10 machete machine-gun mp-40 mp5 mp5k musket p90 pistol-gun revolver"
        " rifle sawed-off-shotgun shotgun spears spiked-mace steyr-aug stiletto switchblade"
        " thompson-m1 thompson-m1928 tomahawk trench-knife trident two-handed-sword uzi walther-ppk war-axe"
        " winchester-rifle bow-arrow pocket-bow unlit-bomb time-bomb rolling-bomb land-mine relic-blade"
        " curvy-knife croc-sword shard-sword saber-slash pointy-sword piercing-sword energy-sword"
        " sharp-axe meat-cleaver minigun nunchaku sai spear-hook barbed-spear stone-axe wood-axe"
    ),
    "medical": (
        "medicine-pills pill pill-drop syringe hypodermic-test medicines bandage-roll bandaged stethoscope"
        " first-aid-kit ambulance hospital hospital-cross medical-pack medical-pack-alt thermometer-cold"
        " thermometer-hot thermometer-scale test-tubes test-tube-rack test-tube-held erlenmeyer microscope dna1 dna2"
        " tooth doctor-face caduceus rod-of-asclepius health-normal health-capsule health-increase defibrilate vial"
        " round-bottom-flask bubbling-flask fizzing-flask corked-tube nurse-female nurse-male arm-bandage"
        " hand-bandage knee-bandage arm-sling scalpel lab-coat healing virus ultrasound drink-me"
        " dripping-tube transfuse foot-plaster molecule square-bottle standing-potion potion-ball"
    ),
    "money": (
        "banknote cash coins coins-pile two-coins money-stack gold-bar gold-stack piggy-bank wallet bank profit"
        " receive-money pay-money credits-currency token crown-coin coinflip swap-bag price-tag buy-card sell-card"
        " take-my-money open-treasure-chest chart histogram stack gold-nuggets metal-bar"
        " gold-mine"
    ),
    "child": "baby-bottle baby-face",
    "animal": (
        "bear-head bear-face bison boar bull bull-horns buffalo-head camel camel-head cat chicken elephant"
        " elephant-head lion fox fox-head goat hedgehog horse-head kangaroo koala labrador-head monkey pig pig-face"
        " rabbit rabbit-head raccoon-head ram sheep snake spider-alt spider-face squirrel tiger tiger-head"
        " tortoise turtle vulture deer deer-head donkey badger bat beaver capybara caterpillar crow-dive duck ermine"
        " frog gecko goose hound hummingbird hyena-head jumping-dog lynx-head mole ostrich panda"
        " parrot-head penguin porcupine rooster seahorse sloth snail sparrow swan"
        " ant beetle-shell scarab-beetle hanging-spider cobra sea-serpent chameleon-glyph"
    ),
    "gore": (
        "blood brain coffin broken-bone graveyard tombstone hasty-grave heart-organ lungs kidneys ribcage skeleton"
        " daemon-skull desert-skull broken-skull half-dead bleeding-wound bleeding-heart bleeding-eye severed-hand"
        " stomach bowels liver spinal-coil vampire-dracula female-vampire shambling-zombie raise-zombie"
        " pelvis-bone skull-in-jar internal-organ large-wound dripping-goo jawbone leaky-skull chewed-skull"
        " morgue-feet decapitation candle-skull chopped-skull brain-leak backbone-shell bone-gnawer death-skull"
        " raise-skeleton resting-vampire happy-skull fleshy-mass drop"
    ),
    "neutral": (
        "apple-core cupcake cactus cactus-pot camping-tent city-car guitar grapes carrot corn bread"
        " cheese-wedge coffee-cup coffee-mug  rose sunflower daisy pine-tree maple-leaf sun moon star-formation"
        " snowman bus cycling velocipede steam-locomotive rocket sailboat house castle volcano soccer-ball"
        " basketball-ball tennis-ball violin grand-piano palette balloons present book-cover bookshelf photo-camera"
        " laptop smartphone watch shirt t-shirt converse-shoe top-hat school-bag backpack key wooden-chair"
        " sofa bathtub socks trophy trophy-cup jigsaw-piece kite umbrella candle-light treasure-map compass"
        " hamburger full-pizza donut pear cherry watermelon avocado bowl-of-rice noodles sushis desk-lamp"
        " armchair tv radio-tower lighthouse windmill anchor alarm-clock scissors pencil paint-brush"
        " shopping-cart shopping-bag teapot cooking-pot fork-knife-spoon kitchen-scale gloves sunglasses crown ring"
        " tree-branch mountains forest hill-fort fountain-pen airplane helicopter jeep truck"
    ),
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawing: the pictogram's family or, of a silhouette, its class; CELL × CELL RGBA."""

    name: str
    sprite: NDArray[np.uint8]

    @property
    def silhouette(self) -> bool:
        """Whether it has no colours of its own."""
        return self.name in CLASSES


Drawings = Mapping[PictureClass, tuple[Drawing, ...]]


def prepare(work: Path) -> Path:
    """Draw everything once into a file in `work` and say where it is. Needs the npm client; SystemExit without it."""
    kept = work / "designs.npz"
    if not kept.is_file():
        arrays = {
            f"{cls}|{number}|{drawing.name}": drawing.sprite
            for cls in CLASSES
            for number, drawing in enumerate(_drawn(work, cls))
        }
        with kept.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    return kept


@cache
def load(kept: Path) -> Drawings:
    """What `prepare` wrote."""
    found: dict[PictureClass, list[Drawing]] = {cls: [] for cls in CLASSES}
    with np.load(kept) as arrays:
        for key in arrays.files:
            cls, _, name = key.split("|")
            found[cls].append(Drawing(name, arrays[key]))
    return {cls: tuple(drawings) for cls, drawings in found.items()}


def pick(drawings: Drawings, cls: PictureClass, rng: np.random.Generator) -> Drawing | None:
    """Another hand's drawing for a training picture of the class, or None where the package's own is to be used.

    All drawings of one pictogram together come up as often as those of another; a silhouette gets a colour.
    """
    if rng.random() >= DRAWN_APART:
        return None
    silhouettes = rng.random() < SILHOUETTES_AMONG
    fitting = [drawing for drawing in drawings[cls] if drawing.silhouette == silhouettes]
    names = sorted({drawing.name for drawing in fitting})
    name = names[rng.integers(len(names))]
    kin = [drawing for drawing in fitting if drawing.name == name]
    chosen = kin[rng.integers(len(kin))]
    return Drawing(name, _coloured(chosen.sprite, rng)) if silhouettes else chosen


def _coloured(sprite: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A silhouette in one colour that runs into another; every other time on a plate, as signs are."""
    one, two = rng.uniform(0, 255, (2, 3))
    share = np.linspace(0, 1, CELL)[:, None, None]
    colour = np.broadcast_to(one + (two - one) * share * rng.uniform(0, 0.7), (CELL, CELL, 3))
    shape = sprite[..., 3:].astype(np.float32) / 255
    if rng.random() < 0.5:
        return np.concatenate([colour, sprite[..., 3:]], -1).astype(np.uint8)
    plate = np.where(one.mean() < 128, rng.uniform(160, 255, 3), rng.uniform(0, 90, 3))
    mixed = plate + (colour - plate) * shape
    return np.concatenate([mixed, np.full((CELL, CELL, 1), 255.0)], -1).astype(np.uint8)


def _drawn(work: Path, cls: PictureClass) -> Iterator[Drawing]:
    folders = {name: _package(work, name, version) for name, version in {**EMOJI, **NAMES}.items()}
    called = [json.loads((folders[name] / "chars.json").read_text(encoding="utf-8")) for name in NAMES]
    for glyph in TRAINED[cls]:
        if any(tone in glyph for tone in SKIN):
            continue
        names = {chars[code] for chars in called for code in _codes(glyph) if code in chars}
        for package in EMOJI:
            found = sorted(names & _icons(folders[package]).keys())
            if found:
                yield Drawing(glyph[0], _sprite(_icons(folders[package])[found[0]]))
    silhouettes = _icons(_package(work, *ICONS))
    for name in dict.fromkeys(SILHOUETTES[cls].split()):
        if name in silhouettes:
            yield Drawing(cls, _sprite(silhouettes[name]))


def _codes(glyph: str) -> tuple[str, str]:
    """How a package's table may spell an emoji."""
    code = "-".join(f"{ord(mark):x}" for mark in glyph)
    return code, f"{code}-fe0f"


def _package(work: Path, name: str, version: str) -> Path:
    """The unpacked npm package @iconify-json/NAME."""
    folder = work / f"{name}-{version}"
    if not folder.is_dir():
        npm = shutil.which("npm")
        if npm is None:
            msg = "the npm client is missing: other designs of the pictograms come from npm packages"
            raise SystemExit(msg)
        asked = [npm, "pack", "--silent", f"@iconify-json/{name}@{version}"]
        told = subprocess.run(asked, cwd=work, check=True, capture_output=True, text=True)  # noqa: S603
        packed = work / told.stdout.split()[-1]
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        packed.unlink()
    return folder / "package"


@cache
def _icons(folder: Path) -> dict[str, str]:
    """Every icon of a package as SVG."""
    told = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    usual = told.get("width", 16), told.get("height", 16)
    return {
        name: '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {icon.get("width", usual[0])}'
        f' {icon.get("height", usual[1])}">{icon["body"]}</svg>'
        for name, icon in told["icons"].items()
    }


def _sprite(svg: str) -> NDArray[np.uint8]:
    """Drawn as large as fits a cell, in its middle."""
    import resvg_py  # noqa: PLC0415 - a tool of development, which nothing else needs

    png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * CELL, height=2 * CELL)
    drawn = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    box = drawn.getchannel("A").getbbox() or (0, 0, *drawn.size)
    drawn = ImageOps.contain(drawn.crop(box), (CELL - 2, CELL - 2), Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL), (0, 0, 0, 0))
    cell.paste(drawn, ((CELL - drawn.width) // 2, (CELL - drawn.height) // 2))
    return np.asarray(cell)
