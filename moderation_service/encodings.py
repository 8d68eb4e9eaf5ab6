"""Text files in other encodings: Unicode with a byte order mark is read, anything else is named with its remedy."""

import codecs
import re

UTF8_BOM = codecs.BOM_UTF8
_BY_BOM = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")


def encoding_of(head: bytes) -> str:
    """The encoding of a sheet or of JSON lines by their first bytes: a mark of UTF-16 counts where ASCII follows it."""
    named = _marked(head)
    return "utf-8" if named == "utf-16" and b"\0" not in head[2:4] else named


def decode(data: bytes) -> str:
    """The text of a whole file. Raises ValueError that says what the bytes seem to be, and how to convert them."""
    try:
        return data.decode(_marked(data))
    except UnicodeDecodeError:
        raise ValueError(not_utf8(data)) from None


def _marked(data: bytes) -> str:
    return next((name for mark, name in _BY_BOM if data.startswith(mark)), "utf-8")


def not_utf8(data: bytes) -> str:
    """What is wrong with bytes that do not decode, and what to do."""
    likely = _likely(data)
    if likely is None:
        return "is not UTF-8; save it as UTF-8"
    return f"is not UTF-8, it seems to be {likely}; save it as UTF-8, or: iconv -f {likely} -t UTF-8 FILE > UTF8-FILE"


def _likely(data: bytes) -> str | None:
    if b"\0" in data:
        return "UTF-16"
    runs = _HIGH_BYTES.findall(data)
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    han = sum("\u3400" <= letter <= "\u9fff" or "\uff00" <= letter <= "\uffef" for letter in text)
    high = sum(map(len, runs))
    if text and 4 * han >= high:  # a Han letter is two bytes; of Latin letters few stand in pairs
        lone = sum(len(run) == 1 for run in runs)
        return "WINDOWS-1252" if 2 * lone > len(runs) else "GB18030"
    return "WINDOWS-1252" if high and all(len(run) <= 2 for run in runs) else None  # noqa: PLR2004 - letters in a row
