"""A folder: every file of it is part of a post, or named."""

import os
from pathlib import Path

import pytest
from PIL import Image

from moderation_service.contracts.post import Post
from moderation_service.readers.folder import scan
from moderation_service.readers.post_files import read_posts, unread
from moderation_service.readers.rows import BadPost


def posts_of(folder: Path) -> dict[str, tuple[str, list[str | None]]]:
    """Words and images by id."""
    posts = (row for row in read_posts(folder) if isinstance(row, Post))
    return {post.post_id: (post.text, [image.url for image in post.images]) for post in posts}


def wrong_in(folder: Path) -> dict[str, str]:
    rows = (row for row in read_posts(folder) if isinstance(row, BadPost))
    return {row.where.removeprefix(f"{folder}/"): row.why for row in rows}


@pytest.mark.parametrize("suffix", ["heic", "jfif", "JPE", "bmp", "tiff", "apng", "mp4", "raw", "pdf"])
def test_what_is_no_text_is_an_image_of_the_post_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"knife.{suffix}").write_bytes(b"\x00\x01\xff\xd8")
    (tmp_path / "knife.txt").write_text("Lightly used")
    (tmp_path / f"alone.{suffix}").write_bytes(b"\x00\x01\xff\xd8")
    assert posts_of(tmp_path) == {
        "knife": ("Lightly used", [f"file:knife.{suffix}"]),
        "alone": ("", [f"file:alone.{suffix}"]),
    }
    assert not wrong_in(tmp_path)


@pytest.mark.parametrize(
    ("image", "text"),
    [("KNIFE.JPG", "KNIFE.TXT"), ("Knife.jpg", "knife.txt"), ("knife.jpg", "knife.jpg.txt"), ("é.jpg", "e\u0301.txt")],
)
def test_a_text_goes_with_its_image_however_the_two_are_written(tmp_path: Path, image: str, text: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / image)
    (tmp_path / text).write_text("Lightly used")
    ((words, images),) = posts_of(tmp_path).values()
    assert (words, len(images)) == ("Lightly used", 1)


def test_images_of_one_name_belong_to_one_post_and_names_that_differ_in_case_are_two(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "B.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    for name in ("B.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    assert posts_of(tmp_path) == {
        "a": ("", ["file:a.jpg", "file:a.png"]),
        "B": ("B.txt", ["file:B.jpg"]),
        "b": ("b.txt", ["file:b.jpg"]),
    }


def test_two_texts_of_one_image_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name in ("a.txt", "a.png.txt"):
        (tmp_path / name).write_text(name)
    assert wrong_in(tmp_path) == {"a": "has 2 texts, a.txt, a.png.txt; keep one"}


def test_files_of_the_system_and_texts_of_another_kind_are_named_as_not_read(tmp_path: Path) -> None:
    names = ("._cat.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/._cat.jpg", ".git/index", "notes.md", "cat.json")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"BM: words" if "." in name[1:] and name[0] != "." else b"\0\5\x16\7")
    assert not posts_of(tmp_path)
    assert not wrong_in(tmp_path)
    named = {line.removeprefix(f"{tmp_path}/").split(":")[0] for line in unread(tmp_path)}
    assert named == {"._cat.jpg", ".DS_Store", "Thumbs.db", "__MACOSX", ".git", "notes.md", "cat.json"}


def test_a_drawing_of_words_is_an_image(tmp_path: Path) -> None:
    (tmp_path / "logo").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert posts_of(tmp_path) == {"logo": ("", ["file:logo"])}


def test_folders_are_walked_and_entries_that_are_no_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").mkdir()
    (tmp_path / "x.jpg" / "deep").mkdir(parents=True)
    (tmp_path / "x.jpg" / "deep" / "a.txt").write_text("hello")
    (tmp_path / "gone.txt").symlink_to("/nowhere/gone.txt")
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("hello")
    assert posts_of(tmp_path) == {"x.jpg/deep/a": ("hello", [])}
    assert wrong_in(tmp_path) == {
        "notes.txt": "is a folder, though named like a file; what is in it is read",
        "x.jpg": "is a folder, though named like a file; what is in it is read",
        "gone.txt": "is a link to nothing",
        "round.jpg": "can't be read (Too many levels of symbolic links)",
        "loop": "is a link to a folder, which is not followed; name that folder itself",
        "pipe.txt": "is neither a file nor a folder",
        r"caf\udce9.txt": "its name is not UTF-8; rename it",
    }


def test_a_text_in_utf_16_is_read_and_one_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("你好".encode("utf-16"))
    (tmp_path / "b.txt").write_bytes("你好，世界".encode("gb18030"))
    assert posts_of(tmp_path) == {"a": ("你好", [])}
    assert "b.txt: is not UTF-8, it seems to be GB18030" in wrong_in(tmp_path)["b"]


def test_every_file_is_in_a_post_or_named(tmp_path: Path) -> None:
    for number, name in enumerate(["a.jpg", "a.TXT", "b", "c.md", "d.heic", "e/f.txt", "e/._f.txt", "g.txt/h.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"words" if number % 2 else b"\0\1")
    found = scan(tmp_path)
    texts = [one.text for one in found.posts if one.text]
    named = [tmp_path / name for one in found.posts for name in one.images] + texts
    skipped = [Path(line.split(": ")[0]) for line in found.skipped]
    assert sorted([*named, *skipped]) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
