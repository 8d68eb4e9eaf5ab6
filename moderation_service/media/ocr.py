"""Optical character recognition: the words in the frames of an image, by PP-OCR's nets; needs the extra `ocr`.

Nets read only the band of a frame in which `find_lines` finds anything, scaled so that its letters are as small as the
detection net still reads. That takes a quarter of the time of reading whole frames at the nets' usual size.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnx
from onnx.numpy_helper import from_array, to_array
from rapidocr import RapidOCR
from rapidocr.utils.process_img import get_rotate_crop_image

from moderation_service.contracts.engine_input import Pixels
from moderation_service.media import text_detection, text_removal
from moderation_service.media.text_detection import Line, find_lines
from moderation_service.media.text_removal import ImageText, TextBox

MAX_CHARACTERS = 2_000  # of an image
LEAST_SCORE = 0.7
LEAST_LETTERS = 4  # letters and digits of an image; fewer are mostly no words
_LINE_HEIGHT = 14  # pixels
_MOST_SIDE = 640  # pixels of what the detection net reads
_MOST_ENLARGED = 4
_AROUND = 2  # line heights, above and below what was found
_SMALL = 25  # percentile of the heights: the smaller lines need the larger scale
_RECOGNISED_HEIGHT = 48  # pixels, which the recognition net reads
_MOST_RECOGNISED = 24_000  # pixels of all lines' lengths at that height, two seconds of one core
_LEAST_SIDE = 32
_DETECTION_NET = "PP-OCRv6_det_small.onnx"

RULES = (
    *("rapidocr", version("rapidocr"), MAX_CHARACTERS, LEAST_SCORE, LEAST_LETTERS, _LINE_HEIGHT, _MOST_SIDE),
    *(_MOST_ENLARGED, _AROUND, _SMALL, _MOST_RECOGNISED, *text_detection.RULES, *text_removal.RULES),
)
"""All that decides which words are read: part of the prompt digest."""

_ONE_THREAD = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
_COMMON = {
    **_ONE_THREAD,
    "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
    "Global.use_cls": False,
    "Global.use_preprocess_img": False,
    "Global.log_level": "critical",  # its warnings may quote
}
_WORDLESS = re.compile(r"[\W_]+")
_CJK = re.compile("[\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef]")


class TextRecognizer:
    """Detection and recognition nets, a thread each call; several threads may share it. Loading takes 100 MB."""

    def __init__(self) -> None:
        detection = {"Global.use_rec": False, "Det.limit_type": "max", "Det.limit_side_len": _MOST_SIDE}
        with TemporaryDirectory() as folder:
            detection["Det.model_path"] = str(_without_denormals(Path(folder)))
            self._detect = RapidOCR(params=_COMMON | detection)
            self._detect(np.zeros((_LEAST_SIDE, _LEAST_SIDE, 3), np.uint8))  # loads the net
        # One line at a time, no wider than it is: padding to the widest of a batch takes longer than a batch saves.
        shape = [3, _RECOGNISED_HEIGHT, 2 * _RECOGNISED_HEIGHT]  # the least width
        recognition = {"Global.use_det": False, "Rec.rec_batch_num": 1, "Rec.rec_img_shape": shape}
        self._recognise = RapidOCR(params=_COMMON | recognition)

    def read(self, frames: Sequence[Pixels]) -> ImageText | None:
        """The words of an image, lines from top to bottom; None where nothing looks like words. Blocks.

        A line that the frame before had too (tiles overlap, moments resemble each other) is not repeated.
        """
        bands = [band for number, frame in enumerate(frames) if (band := _band(number, frame)) is not None]
        if not bands:
            return None
        lines: dict[str, None] = {}
        boxes: list[TextBox] = []
        left = _MOST_RECOGNISED
        for crop, box in chain.from_iterable(map(self._lines, bands)):
            left -= crop.shape[1] * _RECOGNISED_HEIGHT // crop.shape[0]
            if left < 0:
                break
            found: Any = self._recognise(crop)
            for text, score in zip(found.txts, found.scores, strict=True):
                if score >= LEAST_SCORE:
                    lines[text.strip()] = None
                    boxes.append(box)
        words = _joined(lines)
        if len(_WORDLESS.sub("", words)) < LEAST_LETTERS:
            return ImageText("")
        return ImageText(words[:MAX_CHARACTERS], tuple(boxes))

    def _lines(self, band: "_Band") -> Iterator[tuple[Pixels, TextBox]]:
        """The lines of words in a band, each upright and cut out of the frame, and where it was."""
        found: Any = self._detect(band.pixels)
        for box in [] if found.boxes is None else found.boxes:
            corners = box / band.scale + (0, band.top)
            (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
            crop = get_rotate_crop_image(band.frame, corners.astype(np.float32))
            yield crop, TextBox(band.number, max(0, int(left)), max(0, int(top)), int(right), int(bottom))


def _without_denormals(folder: Path) -> Path:
    """The detection net with its 255,265 denormal weights as zeros: x86 takes four times as long with them."""
    net = onnx.load(files("rapidocr") / "models" / _DETECTION_NET)
    for weights in net.graph.initializer:
        values = to_array(weights)
        if values.dtype == np.float32:
            weights.CopyFrom(from_array(np.where(np.abs(values) < np.finfo(np.float32).tiny, 0, values), weights.name))
    path = folder / _DETECTION_NET
    onnx.save(net, path)
    return path


class _Band(NamedTuple):
    """The part of a frame, from `top` on, that holds all its lines and what is near them; and its scaled `pixels`."""

    number: int
    frame: Pixels
    top: int
    scale: tuple[float, float]
    pixels: Pixels


def _band(number: int, frame: Pixels) -> _Band | None:
    lines: list[Line] = find_lines(frame)
    if not lines:
        return None
    around = _AROUND * max(line.height for line in lines)
    top = max(0, int(min(line.top for line in lines) - around))
    bottom = int(max(line.top + line.height for line in lines) + around) + 1
    frame = np.ascontiguousarray(frame[:, :, ::-1])  # BGR, as the nets read it
    height, width = frame[top:bottom].shape[:2]
    small = float(np.percentile([line.height for line in lines], _SMALL))
    scale = min(_LINE_HEIGHT / small, _MOST_SIDE / max(height, width), _MOST_ENLARGED)
    size = max(_LEAST_SIDE, round(width * scale)), max(_LEAST_SIDE, round(height * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    pixels = np.asarray(cv2.resize(frame[top:bottom], size, interpolation=how), np.uint8)
    return _Band(number, frame, top, (size[0] / width, size[1] / height), pixels)


def _joined(lines: Iterable[str]) -> str:
    """Lines as one text: an order to the model that goes over a line's end is found as in a post's words."""
    words = ""
    for line in lines:
        together = not words or (_CJK.match(line) and _CJK.match(words[-1]))
        words += line if together else f" {line}"
    return words
