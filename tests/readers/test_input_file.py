"""Input that is compressed, comes through a pipe, or is cut off."""

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from moderation_service.contracts.post import Post
from moderation_service.errors import Misconfigured
from moderation_service.readers import input_file
from moderation_service.readers.post_files import read_posts, root_of, unread
from moderation_service.readers.rows import BadPost

JSONL = b'{"post_id": "a", "text": "x"}\n{"post_id": "b", "text": "y"}\n'
CSV = b"post_id,text\na,x\nb,y\n"


def ids(path: Path) -> list[str]:
    return [row.post_id for row in read_posts(path) if isinstance(row, Post)]


def forget(path: Path) -> None:
    """Close what a command keeps of a pipe until its process ends."""
    input_file._spooled(path).close()
    input_file._spooled.cache_clear()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("posts.JSONL", JSONL),
        ("posts.NdJson", JSONL),
        ("posts.CSV", CSV),
        ("posts.jsonl.gz", gzip.compress(JSONL, mtime=0)),
        ("posts.CSV.GZ", gzip.compress(CSV, mtime=0)),
        ("posts.jsonl.bz2", bz2.compress(JSONL)),
        ("posts.csv.xz", lzma.compress(CSV)),
        ("posts.jsonl", gzip.compress(JSONL, mtime=0)),
        ("posts.jsonl", b"\xef\xbb\xbf" + JSONL),
        ("posts.jsonl", JSONL.decode().encode("utf-16")),
    ],
)
def test_names_in_capitals_compressed_files_and_byte_order_marks_are_read(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert ids(tmp_path / name) == ["a", "b"]


@pytest.mark.parametrize("content", [JSONL, CSV, gzip.compress(CSV, mtime=0), CSV.decode().encode("utf-16")])
def test_standard_input_is_read_as_often_as_a_command_wants(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    path = Path("-")
    assert (ids(path), list(unread(path)), ids(path), root_of(path)) == (["a", "b"], [], ["a", "b"], Path())
    forget(path)


def test_a_pipe_is_read_as_often_as_a_command_wants(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(JSONL,))
    writer.start()
    assert (ids(pipe), ids(pipe)) == (["a", "b"], ["a", "b"])
    writer.join()
    forget(pipe)


@pytest.mark.parametrize(("name", "content"), [("p.jsonl.gz", JSONL * 999), ("p.csv.gz", CSV + b"c,z\n" * 9999)])
def test_a_compressed_file_that_is_cut_off_is_named_behind_what_it_holds(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content, mtime=0)[:-20])
    rows = list(read_posts(path))
    assert len(rows) > 1
    assert isinstance(rows[-1], BadPost)
    assert "the file is damaged or cut off here" in rows[-1].why


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.json", b"[]", r"of a JSON array: jq -c"),
        ("p.jsonl.zst", b"\x28\xb5\x2f\xfd...", "is compressed by zstd; unpack it"),
        ("p.parquet", b"PAR1", "is a Parquet file"),
        ("p.xlsx", b"PK\x03\x04", "is an Excel workbook"),
        ("p", JSONL, "should be a .jsonl or .csv file"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Misconfigured, match=says):
        ids(tmp_path / name)


@pytest.mark.parametrize(
    "line",
    [
        b'{"post_id": "c", "text": "x", "image": "knife.png"}',
        b'{"post_id": "c", "text": "x", "Images": [{"url": "file:knife.png"}]}',
        b'{"post_id": "c", "images": [{"url": "file:knife.png"}], "Text": "Lightly used"}',
        b'{"post_id": "c", "images": [{"url": "file:knife.png"}], "caption" : "Lightly used"}',
    ],
)
def test_words_and_images_under_a_name_that_nobody_reads_are_a_wrong_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(line + b"\n" + JSONL)
    first, *rest = read_posts(path)
    assert isinstance(first, BadPost)
    assert "unknown field, which nobody reads; rename it to" in first.why
    assert len(rest) == 2


def test_other_unknown_fields_of_a_line_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(
        b'{"post_id": "a", "text": "x", "likes": 7, "media": [], "caption": "y", "metadata": {"image": "z"}}\n'
    )
    assert ids(path) == ["a"]


def test_a_line_in_another_encoding_is_named_with_it_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"post_id": "c", "text": "你好，世界"}\n'.encode("gb18030") + JSONL)
    first, *rest = read_posts(path)
    assert isinstance(first, BadPost)
    assert (first.where, "it seems to be GB18030" in first.why) == (f"{path}:1", True)
    assert len(rest) == 2
