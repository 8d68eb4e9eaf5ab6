"""Unicode normalisation in linear time: the stream-safe text format (UAX #15) before NFKC.

`unicodedata.normalize` sorts the combining marks behind a letter in the square of their number and holds the GIL
(python/cpython#149079): 48 KB of marks took 14 s. No letter of any language has more than a few.
"""

import re
import unicodedata
from collections.abc import Iterator

MAX_MARKS = 30
"""Combining marks in a row, by UAX #15; those behind them are dropped."""
_PIECE = 16_384  # characters that are normalised at once: NFKC makes up to 18 of one
_LONG_RUN = re.compile(rb"[^\0]{%d,}+" % (MAX_MARKS + 1))
_DECOMPOSED_TO_MARKS = {
    mark: unicodedata.normalize("NFKC", mark) for mark in ("\u0f73", "\u0f75", "\u0f81", "\uff9e", "\uff9f")
}
"""The only characters of combining class 0 that become nothing but marks."""


def nfkc(text: str, most: int) -> str:
    """The first `most` characters of the text's NFKC form, without the marks behind `MAX_MARKS` in a row.

    Two letters that join without a mark (single letters of a Hangul syllable) may stay apart every 16,384 characters.
    """
    text = text[:most]
    if text.isascii():
        return text
    for mark, plain in _DECOMPOSED_TO_MARKS.items():
        text = text.replace(mark, plain)
    return "".join(_normal_pieces(text, most))[:most]


def _normal_pieces(text: str, most: int) -> Iterator[str]:
    for piece in _pieces(_stream_safe(text)):
        normal = unicodedata.normalize("NFKC", piece)
        yield normal
        most -= len(normal)
        if most <= 0:
            return


def _stream_safe(text: str) -> str:
    kept, end = [], 0
    for run in _LONG_RUN.finditer(_combining_classes(text)):
        kept.append(text[end : run.start() + MAX_MARKS])
        end = run.end()
    return "".join([*kept, text[end:]])


def _pieces(text: str) -> Iterator[str]:
    """No piece ends before a mark."""
    classes, begin = _combining_classes(text), 0
    while begin < len(text):
        end = begin + _PIECE
        if end < len(text):
            end = classes.rfind(0, begin + 1, end + 1)
        yield text[begin:end]
        begin = end


def _combining_classes(text: str) -> bytes:
    """A byte a character; 0 for all but marks."""
    return bytes(map(unicodedata.combining, text))
