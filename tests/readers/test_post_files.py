from pathlib import Path

import pytest

from moderation_service.contracts.post import ImageRef, Post
from moderation_service.errors import Misconfigured
from moderation_service.media.storage import FileReader
from moderation_service.readers.post_files import BadPost, read_posts, root_of, with_images


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def posts_in(path: Path) -> list[Post]:
    return [row for row in read_posts(path) if isinstance(row, Post)]


def faults_in(path: Path) -> list[BadPost]:
    return [row for row in read_posts(path) if isinstance(row, BadPost)]


def test_json_lines_are_posts_and_blank_lines_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", '{"post_id": "a", "text": "x"}\n\n{"post_id": "b", "text": "y"}')
    assert [post.post_id for post in read_posts(path) if isinstance(post, Post)] == ["a", "b"]


def test_a_wrong_json_line_is_named_with_its_number_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", b'{"post_id": "a"}\n\xff\xfe\n{"post_id": "c", "text": "y"}\n')
    assert [(fault.where, fault.why.split(":")[0]) for fault in faults_in(path)] == [
        (f"{path}:1", "post"),
        (f"{path}:2", "the value is not JSON"),
    ]
    assert [post.post_id for post in posts_in(path)] == ["c"]


def test_csv_columns_become_fields_and_images_addresses(tmp_path: Path) -> None:
    header = "post_id,text,images,revision,language,surface\n"
    path = written(
        tmp_path / "p.csv", "\ufeff" + header + 'a,"two, words",x y.png|https://cdn.example/b.png,3,zh,feed\n'
    )
    (post,) = posts_in(path)
    assert (post.post_id, post.text, post.revision, post.language, post.surface) == ("a", "two, words", 3, "zh", "feed")
    assert [image.url for image in post.images] == ["file:x%20y.png", "https://cdn.example/b.png"]


def test_wrong_csv_rows_are_named_with_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", "post_id,text,revision\na,,1\nb,x,two\nc,x,1\n")
    assert [fault.where for fault in faults_in(path)] == [f"{path}:2", f"{path}:3"]
    assert "revision" in faults_in(path)[1].why
    assert [post.post_id for post in posts_in(path)] == ["c"]


def test_a_csv_row_that_is_no_utf8_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", b"post_id,text\na,\xff\xfe\nb,x\n")
    assert [fault.where for fault in faults_in(path)] == [f"{path}:2"]
    assert [post.post_id for post in posts_in(path)] == ["b"]


def test_a_csv_without_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no column post_id"):
        list(read_posts(written(tmp_path / "p.csv", "id,text\na,x\n")))


def test_a_folder_gives_images_with_the_texts_beside_them(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path / "cat.jpg", b"1")
    written(tmp_path / "cat.txt", " a cat\n")
    written(tmp_path / "deep" / "dog #1.PNG", b"2")
    written(tmp_path / "only words.txt", "words")
    written(tmp_path / "notes.md", "no post")
    found = {post.post_id: (post.text, [image.url for image in post.images]) for post in posts_in(tmp_path)}
    assert found == {
        "cat": ("a cat", ["file:cat.jpg"]),
        "deep/dog #1": ("", ["file:deep/dog%20%231.PNG"]),
        "only words": ("words", []),
    }


def test_an_empty_or_unreadable_text_in_a_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path / "empty.txt", "")
    written(tmp_path / "latin.txt", b"\xe9t\xe9")
    assert {Path(fault.where).name for fault in faults_in(tmp_path)} == {"empty", "latin"}


@pytest.mark.parametrize("name", ["missing.jsonl", "posts.parquet"])
def test_a_path_of_no_known_kind_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("posts"):
        written(tmp_path / name, "x")
    with pytest.raises(Misconfigured, match=name):
        list(read_posts(tmp_path / name))


def test_images_on_disk_are_carried_and_others_left_as_they_are(tmp_path: Path) -> None:
    written(tmp_path / "a b.png", b"hello")
    post = Post(post_id="p", images=(ImageRef(url="file:a%20b.png"), ImageRef(url="https://cdn.example/b.png")))
    carried = with_images(post, FileReader(root_of(tmp_path), 100))
    assert isinstance(carried, Post)
    assert [(image.data, image.url) for image in carried.images] == [
        ("aGVsbG8=", None),
        (None, "https://cdn.example/b.png"),
    ]


@pytest.mark.parametrize(("name", "why"), [("none.png", "no such file"), ("../secret", "outside the folder")])
def test_an_image_that_can_not_be_carried_is_named(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "root").mkdir()
    written(tmp_path / "secret", "x")
    post = Post(post_id="p", images=(ImageRef(url=f"file:{name}"),))
    assert with_images(post, FileReader(tmp_path / "root", 100)) == BadPost("p", f"{name}: {why}")
