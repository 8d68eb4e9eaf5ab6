"""Batches of records are read within bounds, whatever they inflate to, in every codec."""

import gzip
import hashlib
import os
from collections.abc import Callable

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from moderation_service.kafka.aiokafka_workarounds import BoundedRecords, PartialValue, inflate

RECORD, BATCH = 1024 * 1024, 4 * 1024 * 1024
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip_encode,
    "snappy": snappy_encode,
    "lz4": lz4_encode,
    "zstd": zstd_encode,
}


def batch(codec: int, *values: bytes | None, first: int = 100) -> bytes:
    """A batch as a broker sends it, with a header on each record."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=2**30,
    )
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, b"k%d" % number, value, [("h", b"v")])
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    return bytes(built)


def read(data: bytes) -> list[tuple[int, bytes | None, bytes | None]]:
    records = BoundedRecords(RECORD, BATCH, data)
    found = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += [(record.offset, record.key, record.value) for record in one]
        assert records.held_bytes <= len(data) + BATCH
    return found


@pytest.mark.parametrize("codec", [0, *CODECS.values()])
def test_records_are_read_as_they_were_written(codec: int) -> None:
    values = [b"one", None, b"", os.urandom(100_000), b"five" * 50_000]
    assert read(batch(codec, *values)) == [(100 + n, b"k%d" % n, value) for n, value in enumerate(values)]


@pytest.mark.parametrize("codec", [0, *CODECS.values()])
def test_a_value_over_the_bound_leaves_its_beginning_size_and_digest(codec: int) -> None:
    bomb = b"{" + bytes(RECORD)
    found = read(batch(codec, b"before", bomb, b"after"))
    assert [value for _, _, value in found] == [b"before", bomb[: 64 * 1024], b"after"]
    offset, key, value = found[1]
    assert (offset, key) == (101, b"k1")
    assert isinstance(value, PartialValue)
    assert (value.size, value.sha256) == (len(bomb), hashlib.sha256(bomb).hexdigest())


@pytest.mark.parametrize("codec", CODECS.values())
def test_what_lies_behind_the_bound_of_a_batch_is_told_without_being_read(codec: int) -> None:
    bomb = b"{" + bytes(20 * BATCH)
    found = read(batch(codec, b"before", bomb, b"after", b"last"))
    assert [(offset, key) for offset, key, _ in found] == [(100, b"k0"), (101, b"k1"), (102, None), (103, None)]
    values = [value for _, _, value in found]
    assert values[0] == b"before"
    assert [(value.size, value.sha256) for value in values[1:] if isinstance(value, PartialValue)] == [
        (len(bomb), None),
        (None, None),
        (None, None),
    ]
    assert values[1:] == [bomb[: 64 * 1024], b"", b""]


def test_of_raw_snappy_beyond_the_bound_nothing_is_read_and_every_record_told() -> None:
    """Its length stands at its beginning, and it can't be decompressed in part."""
    made = bytearray(batch(2, b"before", b"{" + bytes(20 * BATCH)))
    data = cramjam.snappy.compress_raw(bytes(20 * BATCH))
    raw = bytes(made[:61]) + bytes(data)
    records = BoundedRecords(RECORD, BATCH, (raw[:8] + (len(raw) - 12).to_bytes(4, "big") + raw[12:]))
    found = [(record.offset, record.value) for record in records.next_batch()]
    assert found == [(100, b""), (101, b"")]


def test_key_and_headers_count_and_are_left_out_where_they_are_what_is_too_large() -> None:
    builder = DefaultRecordBatchBuilder(2, 4, 0, -1, -1, 0, 2**30)
    for number, headers in enumerate(([("h", bytes(RECORD))], [])):
        builder.append(number, 1, bytes(RECORD) if number else b"k", b"v", headers)
    (one, other) = BoundedRecords(RECORD, BATCH, bytes(builder.build())).next_batch()
    assert [(each.key, each.value, each.headers) for each in (one, other)] == [(b"k", b"v", []), (None, b"v", [])]
    assert isinstance(one.value, PartialValue)


def test_batches_that_inflate_far_are_not_read_in_one_go() -> None:
    data = b"".join(batch(4, bytes(RECORD // 2), first=100 + number) for number in range(16))
    assert [offset for offset, _, _ in read(data)] == [100, 101]


@pytest.mark.parametrize("name", ENCODERS)
def test_inflating_takes_no_more_memory_than_it_may(name: str) -> None:
    plain = os.urandom(3000) + b"abc" * 1_000_000
    packed = memoryview(ENCODERS[name](plain))
    assert inflate(CODECS[name], packed, len(plain)) == (plain, True)
    made, whole = inflate(CODECS[name], packed, 500_000)
    assert not whole
    assert len(made) <= 500_000
    assert plain.startswith(made)


def test_gzip_of_several_members_is_read_whole() -> None:
    assert inflate(1, memoryview(gzip.compress(b"one") + gzip.compress(b"two")), 100) == (b"onetwo", True)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_can_not_be_decompressed_is_a_corrupt_record(name: str) -> None:
    packed = bytearray(ENCODERS[name](os.urandom(5000)))
    with pytest.raises(CorruptRecordException, match="can't be decompressed"):
        inflate(CODECS[name], memoryview(packed[:-4000]), 10_000)


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(UnsupportedCodecError, match="codec 6"):
        inflate(6, memoryview(b"x"), 10)


@pytest.mark.parametrize("length", [2**31 - 1, 200, 3, -1, -13])
def test_a_first_batch_of_a_wrong_length_is_corrupt_and_not_passed_over(length: int) -> None:
    data = bytearray(batch(0, b"one"))
    data[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises((CorruptRecordException, AssertionError)):  # by its length, or by its checksum
        read(bytes(data))
