"""Readers of public moderation sets, in the layouts that their makers publish; see docs/how-to/public-sets.md.

Each row has one label, that of `--policy`. VLSU labels the image alone and the text alone too, and an attribution class
follows. Slices are the set's own categories. A wrong row is left out and named, as everywhere.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moderation_service.contracts.enums import AttributionClass
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.row_reader import RowReader
from moderation_service.judging.decision import classify
from moderation_service.readers import input_file
from moderation_service.readers.columns import Columns
from moderation_service.readers.folder import IMAGES
from moderation_service.readers.input_file import DAMAGED, cannot_read, kind_of, open_text
from moderation_service.readers.post_files import image_address
from moderation_service.readers.rows import BadPost, Row, json_rows
from moderation_service.readers.sheet import SheetRow, sheet_rows

PublicSet = Literal["hateful_memes", "harmeme", "multioff", "mmhs150k", "unsafebench", "vlsu"]

Fields = Mapping[str, Any]

MEME = frozenset({"id", "img", "text"})
"""What a row of Hateful Memes has beside its label."""

_TWEETS = "MMHS150K_GT.json"
_HATE = ("NotHate", "Racist", "Sexist", "Homophobe", "Religion", "OtherHate")
_HARM = {"not harmful": False, "somewhat harmful": True, "very harmful": True}
_OFFENCE = {"offensive": True, "non-offensiv": False, "non-offensive": False}  # the set's own spelling
_SAFETY = {"safe": False, "unsafe": True}
_GRADES = {"safe": False, "borderline": True, "unsafe": True, "not_sure": None, "not sure": None}

MULTIOFF = Columns("image_name", ("image_name", "sentence", "label"))
UNSAFEBENCH = Columns("file_name", ("file_name", "safety_label", "category", "source", "text"))
_VLSU_LABELS = ("image_grade", "consensus_text_grade", "consensus_combined_grade")
_VLSU_CATEGORIES = ("image_category", "text_category", "combined_category")
VLSU = Columns("uuid", ("uuid", "web_path", "prompt", *_VLSU_LABELS, *_VLSU_CATEGORIES))


class _WrongRow(Exception):  # noqa: N818 - an outcome, caught in this file
    """Why a row is left out."""


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a set: `image` is a file's name or an address; a file in the set's folder called `stem` goes first."""

    post_id: str
    text: str
    image: str
    label: object
    attribution: AttributionClass | None = None
    slices: tuple[str, ...] = ()
    stem: str | None = None


@dataclass(frozen=True, slots=True)
class SetLayout:
    """How a set lies on disk: its rows, what a row says, and the names that its folder of images goes by."""

    rows: Callable[[Path], Iterator[Row | SheetRow]]
    item: Callable[[Fields], Item]
    folders: tuple[str, ...] = ()

    def images(self, path: Path) -> tuple[Path, str]:
        """The folder that paths are relative to, and that of the images in it: beside the annotations, or one above."""
        here = input_file.root_of(path).absolute()
        for root in (here, here.parent):
            if name := next((name for name in self.folders if (root / name).is_dir()), None):
                return root, name
        return here, ""


def root_of(path: Path, chosen: PublicSet) -> Path:
    """The folder that holds the set's images, and its annotations."""
    return LAYOUTS[chosen].images(path)[0]


def read(path: Path, chosen: PublicSet, reader: RowReader) -> Iterator[Labelled | BadPost]:
    """Every row of a set. Raises Misconfigured where the path, or the header of a sheet, is wrong."""
    layout = LAYOUTS[chosen]
    root, folder = layout.images(path)
    by_stem = _images_by_stem(root / folder) if folder else {}
    for where, row in layout.rows(path):
        if isinstance(row, BadPost):
            yield row
            continue
        try:
            item = layout.item(row)
            name = _of_stem(item.stem, by_stem) if item.stem and folder else item.image
        except _WrongRow as wrong:
            yield BadPost(where, str(wrong))
            continue
        labels = reader.single(item.label, where)
        fields = {
            "post_id": item.post_id,
            "text": item.text,
            "images": [{"url": image_address(f"{folder}/{name}" if folder else name)}],
            "attribution": dict.fromkeys(labels, item.attribution),
            "slices": [*item.slices],
        }
        yield reader.row(where, fields, labels)


def _hateful_memes(row: Fields) -> Item:
    if not row.keys() >= MEME or not isinstance(row["img"], str):
        msg = f"should have {', '.join(sorted(MEME))} and label"
        raise _WrongRow(msg)
    return Item(_id(row, "id"), _text(row, "text"), _text(row, "img"), row.get("label"))


def _harmeme(row: Fields) -> Item:
    labels = row.get("labels")
    if not isinstance(labels, list) or not labels:
        msg = f"labels: {labels!r} should be a list, of how harmful the meme is and to whom"
        raise _WrongRow(msg)
    named = {f"labels[{number}]": label for number, label in enumerate(labels)}
    slices = tuple(_text(named, name) for name in named)
    return Item(
        _id(row, "id"), _text(row, "text"), _text(row, "image"), _label(named, "labels[0]", _HARM), slices=slices
    )


def _multioff(row: Fields) -> Item:
    name = _text(row, "image_name").strip()
    return Item(name, _text(row, "sentence"), name, _label(row, "label", _OFFENCE))


def _mmhs150k(row: Fields) -> Item:
    labels = row.get("labels")
    if not isinstance(labels, list) or not labels or not all(_is_kind(label) for label in labels):
        msg = f"labels: {labels!r} should be a list of numbers from 0 to {len(_HATE) - 1}, one an annotator"
        raise _WrongRow(msg)
    hateful = [_HATE[label] for label in labels if label]
    told = len(hateful) * 2 > len(labels)  # as most annotators say
    post_id = _id(row, "id")
    slices = tuple(dict.fromkeys(hateful)) if told else ()
    return Item(post_id, _text(row, "tweet_text"), f"{post_id}.jpg", told, slices=slices)


def _unsafebench(row: Fields) -> Item:
    name = _text(row, "file_name")
    slices = tuple(_text(row, column) for column in ("category", "source") if row.get(column))
    return Item(name, "", name, _label(row, "safety_label", _SAFETY), slices=slices)  # the label is of the image alone


def _vlsu(row: Fields) -> Item:
    image, text, joint = (_label(row, name, _GRADES) for name in _VLSU_LABELS)
    if joint is None:
        msg = "consensus_combined_grade: the annotators were not sure"
        raise _WrongRow(msg)
    known = None if image is None or text is None else classify(joint=joint, image=image, text=text)
    pattern = "_".join(row[name].strip().casefold().replace(" ", "_") for name in _VLSU_LABELS)
    slices = (pattern, *([category] if (category := row.get("combined_category")) else []))
    uuid = _text(row, "uuid")
    return Item(uuid, _text(row, "prompt"), _text(row, "web_path"), joint, known, slices, stem=uuid)


def _tweets(path: Path) -> Iterator[Row]:
    """The rows of MMHS150K: of its folder or its one file all, of a file of `splits` those that it names."""
    folder = path if path.is_dir() else path.parent
    split = path if path.suffix == ".txt" else None
    known = folder.parent / _TWEETS if split else folder / _TWEETS if path.is_dir() else path
    rows = [(tweet, _tweet(tweet, fields)) for tweet, fields in _pairs(known)]
    if split is None:
        yield from ((f"{known}: tweet {tweet}", row) for tweet, row in rows)
        return
    by_id: dict[str, list[dict[str, Any]]] = {}
    for tweet, row in rows:
        by_id.setdefault(tweet, []).append(row)
    with open_text(split) as lines:
        for number, line in enumerate(lines, start=1):
            where, found = f"{split}:{number}", by_id.get(line.strip(), [])
            if len(found) == 1:
                yield where, found[0]
            elif line.strip():
                often = "twice" if found else "not"
                yield where, BadPost(where, f"tweet {line.strip()}: is {often} in {known}")


def _pairs(path: Path) -> list[tuple[str, Any]]:
    """The members of a JSON object, those that are there twice as well. Raises Misconfigured where it is none."""
    with open_text(path) as file:
        try:
            found = json.load(file, object_pairs_hook=_Pairs)
        except (*DAMAGED, ValueError, RecursionError) as error:
            raise Misconfigured(cannot_read(path, error)) from error
    if not isinstance(found, _Pairs):
        msg = f"{path}: should be a JSON object, of tweets by their ids"
        raise Misconfigured(msg)
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written."""


def _tweet(tweet: str, fields: object) -> dict[str, Any]:
    return {**(dict(fields) if isinstance(fields, _Pairs) else {}), "id": tweet}


def _sheet(columns: Columns, *required: str) -> Callable[[Path], Iterator[SheetRow]]:
    """The rows of a sheet that has to have these columns."""

    def rows(path: Path) -> Iterator[SheetRow]:
        for where, row in sheet_rows(path, columns):
            if not isinstance(row, BadPost) and (missing := [name for name in required if name not in row]):
                msg = f"{path}: the header has no column {missing[0]}; it should have {', '.join(required)}"
                raise Misconfigured(msg)
            yield where, row

    return rows


def _metadata(path: Path) -> Iterator[Row | SheetRow]:
    """The rows of an image folder of Hugging Face's `datasets`: `metadata.jsonl` or `metadata.csv`."""
    if path.is_dir():
        found = next((path / name for name in ("metadata.jsonl", "metadata.csv") if (path / name).exists()), None)
        if found is None:
            msg = (
                f"{path}: has no metadata.jsonl or metadata.csv; docs/how-to/public-sets.md shows how to export the set"
            )
            raise Misconfigured(msg)
        path = found
    if kind_of(path) == "csv":
        return _sheet(UNSAFEBENCH, "file_name", "safety_label")(path)
    return json_rows(path)


LAYOUTS: dict[PublicSet, SetLayout] = {
    "hateful_memes": SetLayout(json_rows, _hateful_memes),
    "harmeme": SetLayout(json_rows, _harmeme, ("images", "img")),
    "multioff": SetLayout(_sheet(MULTIOFF, *MULTIOFF.known), _multioff, ("Labelled Images", "images", "img")),
    "mmhs150k": SetLayout(_tweets, _mmhs150k, ("img_resized",)),
    "unsafebench": SetLayout(_metadata, _unsafebench),
    "vlsu": SetLayout(_sheet(VLSU, "uuid", "web_path", "prompt", *_VLSU_LABELS), _vlsu, ("images",)),
}


def _images_by_stem(folder: Path) -> dict[str, list[str]]:
    """The names of a folder's images by their stems, sorted; of no other file, such as one of captions."""
    found: dict[str, list[str]] = {}
    for name in sorted(file.name for file in folder.iterdir() if file.suffix.lower() in IMAGES):
        found.setdefault(Path(name).stem, []).append(name)
    return found


def _of_stem(stem: str, by_stem: Mapping[str, Sequence[str]]) -> str:
    name, *others = by_stem.get(stem, [stem])
    if others:
        msg = f"{stem}: has {1 + len(others)} images, {', '.join([name, *others])}; keep one"
        raise _WrongRow(msg)
    return name


def _text(row: Fields, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        msg = f"{name}: {f'{value!r} should be a string' if name in row else 'is missing'}"
        raise _WrongRow(msg)
    try:
        value.encode()
    except UnicodeEncodeError:
        msg = f"{name}: holds half a character, or bytes that are not UTF-8; write the file as UTF-8"
        raise _WrongRow(msg) from None
    return value


def _id(row: Fields, name: str) -> str:
    value = row.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(row, name)


def _label(row: Fields, name: str, known: Mapping[str, bool | None]) -> bool | None:
    label = _text(row, name).strip().casefold()
    if label not in known:
        msg = f"{name}: {row[name]!r} is not a label of the set; one of {', '.join(known)}"
        raise _WrongRow(msg)
    return known[label]


def _is_kind(label: object) -> bool:
    return type(label) is int and 0 <= label < len(_HATE)
