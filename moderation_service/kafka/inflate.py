"""Decompression within a bound: of what would inflate beyond it only the beginning is made, and takes memory.

cramjam can't decompress in pieces, but writes into a buffer of a given size until that is full.
"""

import struct
import zlib
from collections.abc import Callable

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

NONE, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)
"""Kafka's numbers."""

_FIRST_RATIO, _GROWTH = 8, 8
_GZIP_FRAMED = 31  # zlib's wbits
_XERIAL, _XERIAL_HEADER_BYTES = b"\x82SNAPPY\0", 16  # of Java's producers: blocks, each after its length
_FULL = "failed to write whole buffer"


def inflate(codec: int, data: memoryview, most: int) -> tuple[bytearray, bool]:
    """Decompress at most `most` bytes. Also says whether that is all; of raw snappy that is not, nothing is made.

    Raises CorruptRecordException for what can't be decompressed, UnsupportedCodecError for another codec.
    """
    try:
        if codec == _GZIP:
            return _gzip(data, most)
        if codec == _SNAPPY:
            return _snappy(data, most)
        if codec == _LZ4:
            return _into(cramjam.lz4.decompress_into, data, most)
        if codec == _ZSTD:
            return _into(cramjam.zstd.decompress_into, data, most)
    except (cramjam.DecompressionError, zlib.error, struct.error) as error:
        msg = f"a batch can't be decompressed: {error}"
        raise CorruptRecordException(msg) from error
    msg = f"unknown compression codec {codec}"
    raise UnsupportedCodecError(msg)


def _into(decompress: Callable[[memoryview, bytearray], int], data: memoryview, most: int) -> tuple[bytearray, bool]:
    size = min(most, _FIRST_RATIO * len(data))
    while True:
        buffer = bytearray(size)
        try:
            made = decompress(data, buffer)
        except cramjam.DecompressionError as error:
            if _FULL not in str(error):
                raise
            if size == most:
                return buffer, False
            size = min(most, size * _GROWTH)
        else:
            del buffer[made:]
            return buffer, True


def _gzip(data: memoryview, most: int) -> tuple[bytearray, bool]:
    made, rest = bytearray(), bytes(data)
    while rest:  # a member after the other
        member = zlib.decompressobj(_GZIP_FRAMED)
        made += member.decompress(rest, most - len(made) + 1)
        if len(made) > most:
            del made[most:]
            return made, False
        if not member.eof:
            msg = "gzip: truncated"
            raise zlib.error(msg)
        rest = member.unused_data
    return made, True


def _snappy(data: memoryview, most: int) -> tuple[bytearray, bool]:
    if data[: len(_XERIAL)] != _XERIAL:
        if cramjam.snappy.decompress_raw_len(data) > most:
            return bytearray(), False
        return bytearray(cramjam.snappy.decompress_raw(data)), True
    made, at = bytearray(), _XERIAL_HEADER_BYTES
    while at < len(data):  # a block after the other, each with its length before it
        (size,) = struct.unpack_from(">i", data, at)
        block = data[at + 4 : at + 4 + size]
        if len(made) + cramjam.snappy.decompress_raw_len(block) > most:
            return made, False
        made += cramjam.snappy.decompress_raw(block)
        at += 4 + size
    return made, True
