"""A folder of images with texts beside them: each of its files belongs to a post, or is named.

What is not readable text is taken for an image, whatever its name: it is judged, or the verdict abstains.
"""

import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moderation_service.media.containers import media_type
from moderation_service.readers.rows import BadPost

IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".jxl", ".svg"}
)
TEXT = ".txt"

_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", ".gitkeep", ".gitignore"})
_SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information"})
_HEAD = 8192


@dataclass(frozen=True, slots=True)
class FolderPost:
    """The files of one post; paths are relative to the folder."""

    post_id: str
    images: tuple[str, ...]
    text: Path | None


@dataclass(slots=True)
class Folder:
    """What a folder holds: posts, entries that are wrong, and a line for each file that is not a part of a post."""

    posts: list[FolderPost] = field(default_factory=list)
    wrong: list[BadPost] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def scan(root: Path) -> Folder:
    """Look at every file under `root`, in order of their paths."""
    found = Folder()
    images: dict[str, list[Path]] = defaultdict(list)
    texts: dict[str, list[Path]] = defaultdict(list)
    for path in _files(root, found):
        name = path.relative_to(root)
        kind = _kind(path, found)
        if kind == "image":
            images[_stem(name)].append(name)
        elif kind == "text":
            texts[_stem(name)].append(name)
    whole_names = {
        unicodedata.normalize("NFC", one.as_posix()).casefold(): stem for stem in images for one in images[stem]
    }
    for stem in [*texts]:  # cat.jpg.txt are the words of cat.jpg too
        if stem in whole_names:
            texts[whole_names[stem]] += texts.pop(stem)
    for stem in sorted(images.keys() | texts.keys()):
        _add(root, images.get(stem, []), texts.get(stem, []), found)
    return found


def text_beside(image: Path) -> Path | None:
    """The text that goes with an image: `cat.txt`, else `CAT.TXT` or `cat.jpg.txt`, beside `cat.jpg`.

    Raises ValueError where several do.
    """
    same = image.with_suffix(TEXT)
    if same.is_file() or not image.parent.is_dir():
        return same if same.is_file() else None
    wanted = {_stem(Path(image.name)), _stem(Path(f"{image.name}{TEXT}"))}
    texts = (one for one in image.parent.iterdir() if one.suffix.lower() == TEXT and one.is_file())
    found = sorted(one for one in texts if _stem(Path(one.name)) in wanted)
    if len(found) > 1:
        msg = f"has {len(found)} texts, {', '.join(one.name for one in found)}; keep one"
        raise ValueError(msg)
    return found[0] if found else None


def _add(root: Path, images: list[Path], texts: list[Path], found: Folder) -> None:
    exact = {one.with_suffix("") for one in images}
    if len(exact) > 1:  # A.jpg and a.jpg are two posts, each with the text of exactly its name
        for stem in sorted(exact):
            mine = [one for one in texts if one.with_suffix("") == stem]
            texts = [one for one in texts if one not in mine]
            _add(root, [one for one in images if one.with_suffix("") == stem], mine, found)
        if not texts:
            return
        images = []
    post_id = (images or texts)[0].with_suffix("").as_posix()
    if len(texts) > 1:
        names = ", ".join(one.name for one in texts)
        found.wrong.append(BadPost(str(root / post_id), f"has {len(texts)} texts, {names}; keep one"))
        return
    text = root / texts[0] if texts else None
    found.posts.append(FolderPost(post_id, tuple(one.as_posix() for one in images), text))


def _files(folder: Path, found: Folder) -> Iterator[Path]:
    """The files under a folder. Links to folders are not followed, and so lead round in no loop."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.wrong.append(BadPost(str(folder), f"can't be read ({error.strerror})"))
        return
    for entry in entries:
        path = folder / entry.name
        if why := _wrong(entry):
            found.wrong.append(BadPost(_shown(path), why))
        elif entry.is_dir():
            if entry.name.startswith(".") or entry.name.casefold() in _SYSTEM_FOLDERS:
                found.skipped.append(f"{path}: a folder of the system's")
                continue
            if path.suffix.lower() in IMAGES | {TEXT}:
                found.wrong.append(BadPost(str(path), "is a folder, though named like a file; what is in it is read"))
            yield from _files(path, found)
        elif entry.name.startswith("._") or entry.name.casefold() in _SYSTEM_FILES:
            found.skipped.append(f"{path}: a file of the system's")
        else:
            yield path


def _wrong(entry: "os.DirEntry[str]") -> str | None:
    """Why an entry can be no part of a post."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "is a link to nothing"
    except OSError as error:  # a link to itself, for one
        return f"can't be read ({error.strerror})"
    if stat.S_ISDIR(mode) and entry.is_symlink():
        return "is a link to a folder, which is not followed; name that folder itself"
    return None if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else "is neither a file nor a folder"


def _kind(path: Path, found: Folder) -> str | None:
    suffix = path.suffix.lower()
    if suffix == TEXT:
        return "text"
    if suffix in IMAGES:
        return "image"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        found.wrong.append(BadPost(str(path), f"can't be read ({error.strerror})"))
        return None
    if _is_text(head) and media_type(head) != "image/svg+xml":
        found.skipped.append(f"{path}: neither an image nor a {TEXT} file")
        return None
    return "image"


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == _HEAD  # a letter that is cut in two
    return True


def _stem(name: Path) -> str:
    """What an image and its text have in common: the path without its ending, however it is written."""
    return _folded(name.with_suffix(""))


def _folded(name: Path) -> str:
    return unicodedata.normalize("NFC", name.as_posix()).casefold()


def _shown(path: Path) -> str:
    return str(path).encode(errors="backslashreplace").decode()
