import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moderation_service.errors import Misconfigured
from moderation_service.evaluation.labelled import Labelled, digest
from moderation_service.evaluation.loaders import Format, LoadedLabels, load

POLICIES = ("violence", "weapon_sale", "doxxing")


def written(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def make_image(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / name)


def faults(loaded: LoadedLabels) -> list[tuple[int, str]]:
    return [(int(row.where.rpartition(":")[2]), row.why) for row in loaded.left_out]


def by_id(loaded: LoadedLabels) -> dict[str, Labelled]:
    return {one.post.post_id: one for one in loaded.posts}


def test_json_lines_of_posts_with_labels(tmp_path: Path) -> None:
    row = {
        "post_id": "a",
        "text": "x",
        "labels": {"violence": True, "weapon_sale": False, "doxxing": None},
        "attribution": {"violence": "text_only", "weapon_sale": "none"},
        "slices": ["new"],
        "twin_of": "b",
    }
    (one,) = load(written(tmp_path / "p.jsonl", row), POLICIES).posts
    assert one.labels == {"violence": True, "weapon_sale": False}, "null is unknown, and no negative"
    assert one.attribution == {"violence": "text_only", "weapon_sale": "none"}
    assert (one.slices, one.twin_of, one.family, one.apart) == (("new",), "b", "b", False)


BROKEN: list[tuple[Any, str]] = [
    ("{not json", "not JSON"),
    ("[1]", "a JSON object"),
    ({"post_id": "n", "text": "x"}, "labels: should be an object"),
    ({"post_id": "n", "text": "x", "labels": {}}, "no label"),
    ({"post_id": "n", "text": "x", "labels": {"violence": None}}, "no label"),
    ({"post_id": "n", "text": "x", "labels": {"voilence": True}}, "labels.voilence: no such policy; one of doxxing"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 2}}, "labels.violence: 2 is not a label"),
    ({"post_id": "n", "text": "x", "labels": {"violence": "maybe"}}, "'maybe' is not a label"),
    ({"post_id": "n", "labels": {"violence": True}}, "one of text and images"),
    ({"text": "x", "labels": {"violence": True}}, "post_id: Field required"),
    ({"post_id": "a", "text": "again", "labels": {"violence": True}}, "post_id a: an earlier row has it"),
    ({"post_id": "n", "images": [{"url": "file:no.png"}], "labels": {"violence": 1}}, "image no.png: no such file"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 1}, "attribution": {"violence": "both"}}, "is not a class"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 0}, "attribution": {"violence": "combined"}}, "not go with"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 0}, "attribution": {"doxxing": "none"}}, "does not go with"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 1}, "attribution": ["none"]}, "attribution: should be"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 1}, "slices": "new"}, "slices: should be a list"),
    ({"post_id": "n", "text": "x", "labels": {"violence": 1}, "twin_of": 3}, "twin_of: should be"),
]


@pytest.mark.parametrize(("row", "why"), BROKEN)
def test_a_broken_json_row_is_named_with_its_line_and_the_rest_goes_on(tmp_path: Path, row: Any, why: str) -> None:
    good = [{"post_id": name, "text": "x", "labels": {"violence": True}} for name in ("a", "b")]
    loaded = load(written(tmp_path / "p.jsonl", good[0], row, "", good[1]), POLICIES)
    ((line, said),) = faults(loaded)
    assert line == 2
    assert why in said
    assert [*by_id(loaded)] == ["a", "b"]


def test_json_bytes_that_are_no_utf8_are_one_wrong_row(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xff\xfe\n{"post_id": "a", "text": "x", "labels": {"violence": false}}\n')
    loaded = load(path, POLICIES)
    assert [line for line, _ in faults(loaded)] == [1]
    assert by_id(loaded)["a"].labels == {"violence": False}


def test_csv_of_posts_with_a_column_for_each_policys_label(tmp_path: Path) -> None:
    make_image(tmp_path, "one two.png")
    path = written(
        tmp_path / "p.csv",
        "post_id,text,images,language,label:violence,label:doxxing,attribution:violence,slices,twin_of",
        "a,hello,one two.png|https://cdn.example/x.png,en,yes,,text_only,new|hard,",
        "b,hello,,,0,TRUE,,,a",
        "c,hello,,,,,,,",
        "d,hello,,,perhaps,1,,,",
        "e,,,,1,,,,",
        "f,x,,,1",
        "g,x,,,1,,,,,surplus",
    )
    loaded = load(path, POLICIES)
    one, two = loaded.posts
    assert one.labels == {"violence": True}, "an empty cell is unknown"
    assert one.attribution == {"violence": "text_only"}
    assert one.slices == ("new", "hard")
    assert [image.url for image in one.post.images] == ["file:one%20two.png", "https://cdn.example/x.png"]
    assert (two.labels, two.twin_of) == ({"violence": False, "doxxing": True}, "a")
    assert [(line, why.split(";")[0]) for line, why in faults(loaded)] == [
        (4, "no label"),
        (5, "labels.violence: 'perhaps' is not a label"),
        (6, "post: one of text and images is required"),
        (7, "should have 9 cells, as the header"),
        (8, "should have 9 cells, as the header"),
    ]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    path = written(tmp_path / "p.csv", "post_id,text,label:violence", "a,x,1", f"b,{'x' * 200_000},1", "c,x,1")
    assert {name: len(one.post.text) for name, one in by_id(load(path, POLICIES)).items()} == {
        "a": 1,
        "b": 200_000,
        "c": 1,
    }


def test_the_hateful_memes_layout_is_seen_and_its_label_is_one_policys(tmp_path: Path) -> None:
    make_image(tmp_path, "img/01.png")
    path = written(
        tmp_path / "dev.jsonl",
        {"id": 42953, "img": "img/01.png", "label": 1, "text": "they are all like this"},
        {"id": 8291, "img": "img/01.png", "label": 0, "text": "my pets"},
        {"id": 3, "img": "img/02.png", "label": 0, "text": "gone"},
        {"id": 4, "img": "img/01.png", "text": "of the test split"},
        {"id": 5, "label": 1, "text": "no picture named"},
        {"id": 42953, "img": "img/01.png", "label": 1, "text": "twice"},
        "{not json",
    )
    loaded = load(path, POLICIES, policy="violence")
    assert {name: one.labels["violence"] for name, one in by_id(loaded).items()} == {"42953": True, "8291": False}
    assert [(line, why.split(":")[0]) for line, why in faults(loaded)] == [
        (3, "image img/02.png"),
        (4, "no label"),
        (5, "should have id, img, text and label"),
        (6, "post_id 42953"),
        (7, "not JSON"),
    ]
    with pytest.raises(Misconfigured, match=r"dev.jsonl:1: a label of which policy\? Name it with --policy"):
        load(path, POLICIES)
    with pytest.raises(Misconfigured, match="--policy hate: no such policy"):
        load(path, POLICIES, policy="hate")


def test_a_folder_with_a_labelled_sheet(tmp_path: Path) -> None:
    for name in ("cat.png", "dog.png", "pen.png", "sub/gun.png"):
        make_image(tmp_path, name)
    for name in ("cat.txt", "pen.TXT", "pen.png.txt"):
        (tmp_path / name).write_text("hello\n")
    (tmp_path / "dog.txt").write_bytes(b"\xff\xfe\x00")
    written(
        tmp_path / "labels.csv",
        "file,label:violence,label:weapon_sale",
        "cat.png,no,",
        "dog.png,no,",
        "sub/gun.png|cat.png,,yes",
        "none.png,,yes",
        ",,yes",
        "cat.png,1",
        "pen.png,no,",
    )
    loaded = load(tmp_path, POLICIES)
    assert {name: (one.post.text, len(one.post.images)) for name, one in by_id(loaded).items()} == {
        "cat": ("hello", 1),
        "sub/gun": ("", 2),
    }
    assert [(line, why.split(";")[0][:40]) for line, why in faults(loaded)] == [
        (3, "dog.png: is not UTF-8, it seems to be UT"),
        (5, "image none.png: no such file under " + str(tmp_path)[:5]),
        (6, "post_id: String should have at least 1 c"),
        (7, "should have 3 cells, as the header"),
        (8, "pen.png: has 2 texts, pen.TXT, pen.png.t"),
    ]


def test_a_sheet_with_one_label_and_its_own_texts(tmp_path: Path) -> None:
    make_image(tmp_path, "cat.png")
    (tmp_path / "cat.txt").write_text("not this")
    written(tmp_path / "labels.csv", "file,post_id,language,text,label", "cat.png,p-1,zh,hello,1")
    (one,) = load(tmp_path, POLICIES, policy="doxxing").posts
    assert (one.post.post_id, one.post.language, one.post.text, one.labels) == ("p-1", "zh", "hello", {"doxxing": True})


@pytest.mark.parametrize(
    ("name", "content", "form", "says"),
    [
        ("p.csv", "text,label:violence\nx,1\n", None, "p.csv:1: the header has no column post_id"),
        ("p.xlsx", "x", None, "should be a .jsonl or .csv file"),
        ("p.jsonl", "", None, "no labelled post in 0 rows"),
        ("p.jsonl", '{"post_id": "a"}\n', None, "no labelled post in 1 rows; the first: .*p.jsonl:1: labels"),
        ("p.jsonl", '{"post_id": "a"}\n', "hateful_memes", "should have id, img"),
        (
            "p.jsonl",
            '{"review_id": "r"}\n',
            None,
            "p.jsonl: holds reviews; name the posts that they are of with --posts",
        ),
    ],
)
def test_a_file_without_one_labelled_post_is_refused(
    tmp_path: Path, name: str, content: str, form: Format | None, says: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Misconfigured, match=says):
        load(tmp_path / name, POLICIES, policy="violence", form=form)


def test_a_missing_path_and_a_folder_without_a_sheet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no such file or folder"):
        load(tmp_path / "none", POLICIES)
    with pytest.raises(Misconfigured, match=r"has no labels.csv; it should have columns file and label:POLICY"):
        load(tmp_path, POLICIES)


def test_the_digest_is_of_posts_and_labels(tmp_path: Path) -> None:
    def posts(label: bool, text: str = "x") -> tuple[Labelled, ...]:  # noqa: FBT001
        row = {"post_id": "a", "text": text, "labels": {"violence": label}}
        return load(written(tmp_path / "p.jsonl", row), POLICIES).posts

    assert digest(posts(True)) == digest(posts(True))
    assert len({digest(posts(True)), digest(posts(False)), digest(posts(True, "y"))}) == 3
