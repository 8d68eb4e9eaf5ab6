"""Public sets as their makers lay them out, made small; the images and the words are ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from moderation_service.contracts.enums import AttributionClass
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.loaders import LoadedLabels, load
from moderation_service.evaluation.public_sets import LAYOUTS, PublicSet
from moderation_service.judging.decision import classify

POLICY = "hate"


def images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name)


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def meme(post_id: int | str = 1, img: str = "img/01.png", **changes: Any) -> dict[str, Any]:
    return {"id": post_id, "img": img, "label": 1, "text": "look at them", **changes}


def hateful_memes(folder: Path, *rows: Any) -> Path:
    images(folder / "img", "01.png")
    return lines(folder / "dev_seen.jsonl", *rows)


def covid(post_id: str = "covid_memes_1", **changes: Any) -> dict[str, Any]:
    labels = ["somewhat harmful", "individual"]
    return {"id": post_id, "image": "covid_memes_1.png", "labels": labels, "text": "wear it", **changes}


def harmeme(folder: Path, *rows: Any) -> Path:
    images(folder / "images", "covid_memes_1.png")
    return lines(folder / "annotations" / "test.jsonl", *rows)


def multioff(folder: Path, *rows: str) -> Path:
    images(folder / "Labelled Images", "a.png", "b c.jpg")
    return lines(folder / "Split Dataset" / "Testing_meme_dataset.csv", "image_name,sentence,label", *rows)


def tweet(*labels: Any, **changes: Any) -> dict[str, Any]:
    return {
        "img_url": "http://pbs.twimg.com/media/x.jpg",
        "labels": list(labels),
        "tweet_url": "https://twitter.com/user/status/1",
        "tweet_text": "look https://t.co/x",
        "labels_str": ["Racist"],
        **changes,
    }


def mmhs150k(folder: Path, *tweets: tuple[str, Any]) -> Path:
    images(folder / "img_resized", "11.jpg", "12.jpg")
    lines(folder / "img_txt" / "11.json", {"img_text": "read from the image, which the model does itself"})
    members = ", ".join(f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in tweets)
    lines(folder / "MMHS150K_GT.json", f"{{{members}}}")
    return folder


def unsafe(name: str = "images/0.png", **changes: Any) -> dict[str, Any]:
    told = {
        "safety_label": "Unsafe",
        "category": "Hate",
        "source": "Laion5B",
        "text": "the caption that it was found by",
    }
    return {"file_name": name, **told, **changes}


def unsafebench(folder: Path, *rows: Any) -> Path:
    images(folder / "images", "0.png", "1.png")
    lines(folder / "metadata.jsonl", *rows)
    return folder


VLSU_HEADER = (
    "uuid,web_path,prompt,image_grade,consensus_text_grade,consensus_combined_grade,"
    "image_category,text_category,combined_category"
)


def pair(uuid: str, image: str, text: str, joint: str, category: str = "C9: Interpersonal Violence") -> str:
    return f"{uuid},https://images.example/{uuid}.jpg,what happens next?,{image},{text},{joint},,,{category}"


def vlsu(folder: Path, *rows: str) -> Path:
    images(folder / "images", "u1.jpg", "u2.png")
    return lines(folder / "data" / "VLSU.csv", VLSU_HEADER, *rows)


def vlsu_with_two_images_of_one(folder: Path, *rows: str) -> Path:
    images(folder / "images", "u3.webp", "u3.PNG")
    return vlsu(folder, *rows)


def labels(loaded: LoadedLabels) -> dict[str, bool]:
    return {one.post.post_id: one.labels[POLICY] for one in loaded.posts}


MADE: list[tuple[PublicSet, Callable[..., Path], list[Any], dict[str, bool], str]] = [
    ("hateful_memes", hateful_memes, [meme(1), meme("02", label=0)], {"1": True, "02": False}, "look at them"),
    (
        "harmeme",
        harmeme,
        [covid(), covid("2", labels=["very harmful", "society"]), covid("3", labels=["not harmful"])],
        {"covid_memes_1": True, "2": True, "3": False},
        "wear it",
    ),
    (
        "multioff",
        multioff,
        ['a.png,"two, and\nlines",offensive', "b c.jpg,x,Non-offensiv"],
        {"a.png": True, "b c.jpg": False},
        "two, and\nlines",
    ),
    (
        "mmhs150k",
        mmhs150k,
        [("11", tweet(1, 0, 5)), ("12", tweet(0, 0, 3))],
        {"11": True, "12": False},
        "look https://t.co/x",
    ),
    (
        "unsafebench",
        unsafebench,
        [unsafe(), unsafe("images/1.png", safety_label="Safe", category="")],
        {"images/0.png": True, "images/1.png": False},
        "",
    ),
    (
        "vlsu",
        vlsu,
        [pair("u1", "safe", "safe", "unsafe"), pair("u2", "unsafe", "Borderline", "safe")],
        {"u1": True, "u2": False},
        "what happens next?",
    ),
]


def test_every_public_set_has_an_example() -> None:
    assert {name for name, *_ in MADE} == set(get_args(PublicSet)) == set(LAYOUTS)


@pytest.mark.parametrize(("form", "make", "rows", "told", "text"), MADE, ids=[name for name, *_ in MADE])
def test_a_public_set_is_read_as_its_makers_lay_it_out(
    tmp_path: Path, form: PublicSet, make: Callable[..., Path], rows: list[Any], told: dict[str, bool], text: str
) -> None:
    path = make(tmp_path, *rows)
    loaded = load(path, (POLICY,), policy=POLICY, form=form)
    assert labels(loaded) == told
    assert loaded.left_out == ()
    first = loaded.posts[0].post
    assert first.text == text
    assert [image.url.startswith("file:") for image in first.images if image.url] == [True]
    with pytest.raises(Misconfigured, match=r"a label of which policy\? Name it with --policy; one of hate"):
        load(path, (POLICY,), form=form)


BROKEN: list[tuple[PublicSet, Callable[..., Path], Any, Any, str, str]] = [
    ("hateful_memes", hateful_memes, meme(), meme(2, "img/02.png"), ".jsonl:2", "image img/02.png: no such file"),
    (
        "hateful_memes",
        hateful_memes,
        meme(),
        meme(2, label="hateful"),
        ".jsonl:2",
        "labels.hate: 'hateful' is not a label",
    ),
    ("hateful_memes", hateful_memes, meme(), {"id": 2, "label": 1}, ".jsonl:2", "should have id, img, text and label"),
    ("hateful_memes", hateful_memes, meme(), {"id": 2, "img": "img/01.png", "text": "x"}, ".jsonl:2", "no label"),
    ("hateful_memes", hateful_memes, meme(), meme(), ".jsonl:2", "post_id 1: an earlier row has it"),
    ("hateful_memes", hateful_memes, meme(), '{"id": 2,', ".jsonl:2", "not JSON"),
    ("hateful_memes", hateful_memes, meme(), meme(2, "\ud83d.png"), ".jsonl:2", "img: holds half a character"),
    ("harmeme", harmeme, covid(), covid("2", image="no.png"), ".jsonl:2", "image images/no.png: no such file"),
    ("harmeme", harmeme, covid(), covid("2", labels=["harmful"]), ".jsonl:2", "labels[0]: 'harmful' is not a label"),
    ("harmeme", harmeme, covid(), covid("2", labels="not harmful"), ".jsonl:2", "should be a list"),
    ("harmeme", harmeme, covid(), covid("2", labels=[1]), ".jsonl:2", "labels[0]: 1 should be a string"),
    ("harmeme", harmeme, covid(), {"id": "2", "labels": ["not harmful"], "text": ""}, ".jsonl:2", "image: is missing"),
    ("harmeme", harmeme, covid(), covid(), ".jsonl:2", "post_id covid_memes_1: an earlier row has it"),
    ("harmeme", harmeme, covid(), "[1]", ".jsonl:2", "should be a JSON object"),
    ("multioff", multioff, "a.png,x,offensive", "no.png,x,offensive", ".csv:3", "image Labelled Images/no.png"),
    ("multioff", multioff, "a.png,x,offensive", "b c.jpg,x,rude", ".csv:3", "label: 'rude' is not a label of the set"),
    ("multioff", multioff, "a.png,x,offensive", "b c.jpg,x", ".csv:3", "should have 3 cells"),
    ("multioff", multioff, "a.png,x,offensive", "a.png,y,offensive", ".csv:3", "post_id a.png: an earlier row"),
    ("multioff", multioff, "a.png,x,offensive", 'b c.jpg,"x,offensive', ".csv:3", "a quote is not closed"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("13", tweet(0, 0, 0)), "tweet 13", "image img_resized/13.jpg"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("12", tweet(0, 6, 0)), "tweet 12", "numbers from 0 to 5"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("12", tweet(1.0)), "tweet 12", "numbers from 0 to 5"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("12", {"labels": [0]}), "tweet 12", "tweet_text: is missing"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("12", "x"), "tweet 12", "labels: None should be a list"),
    ("mmhs150k", mmhs150k, ("11", tweet(1, 1, 1)), ("11", tweet(0, 0, 0)), "tweet 11", "an earlier row has it"),
    ("unsafebench", unsafebench, unsafe(), unsafe("images/2.png"), ".jsonl:2", "image images/2.png: no such file"),
    ("unsafebench", unsafebench, unsafe(), unsafe("images/1.png", safety_label="?"), ".jsonl:2", "safety_label: '?'"),
    ("unsafebench", unsafebench, unsafe(), {"file_name": "images/1.png"}, ".jsonl:2", "safety_label: is missing"),
    ("unsafebench", unsafebench, unsafe(), unsafe(), ".jsonl:2", "post_id images/0.png: an earlier row has it"),
    ("unsafebench", unsafebench, unsafe(), "{", ".jsonl:2", "not JSON"),
    (
        "vlsu",
        vlsu,
        pair("u1", "safe", "safe", "safe"),
        pair("u3", "safe", "safe", "safe"),
        ".csv:3",
        "image images/u3",
    ),
    (
        "vlsu",
        vlsu,
        pair("u1", "safe", "safe", "safe"),
        pair("u2", "fine", "safe", "safe"),
        ".csv:3",
        "image_grade: 'fine' is not a label of the set; one of safe, borderline, unsafe",
    ),
    (
        "vlsu",
        vlsu,
        pair("u1", "safe", "safe", "safe"),
        pair("u2", "safe", "safe", "not_sure"),
        ".csv:3",
        "consensus_combined_grade: the annotators were not sure",
    ),
    (
        "vlsu",
        vlsu_with_two_images_of_one,
        pair("u1", "safe", "safe", "safe"),
        pair("u3", "safe", "safe", "safe"),
        ".csv:3",
        "u3: has 2 images, u3.PNG, u3.webp; keep one",
    ),
    ("vlsu", vlsu, pair("u1", "safe", "safe", "safe"), pair("u1", "safe", "safe", "safe"), ".csv:3", "an earlier row"),
    (
        "vlsu",
        vlsu,
        pair("u1", "safe", "safe", "safe"),
        "u2,https://images.example/u2.jpg",
        ".csv:3",
        "should have 9 cells",
    ),
]


@pytest.mark.parametrize(("form", "make", "good", "bad", "where", "why"), BROKEN)
def test_a_broken_row_is_named_with_its_place_and_the_rest_goes_on(
    tmp_path: Path, form: PublicSet, make: Callable[..., Path], good: Any, bad: Any, where: str, why: str
) -> None:
    loaded = load(make(tmp_path, good, bad), (POLICY,), policy=POLICY, form=form)
    assert len(loaded.posts) == 1
    (left_out,) = loaded.left_out
    assert where in left_out.where
    assert why in left_out.why


@pytest.mark.parametrize(
    ("form", "name", "content", "says"),
    [
        ("multioff", "a.csv", "image_name,sentence\na.png,x\n", r"a\.csv: the header has no column label; it should"),
        ("multioff", "a.csv", "sentence,label\nx,offensive\n", r"a\.csv:1: the header has no column image_name"),
        ("vlsu", "VLSU.csv", "uuid,web_path,prompt,image_grade\n1,x,y,safe\n", "no column consensus_text_grade"),
        ("unsafebench", "metadata.csv", "file_name,category\n0.png,Hate\n", "no column safety_label"),
        ("unsafebench", "test.parquet", "PAR1", "is a Parquet file"),
        ("mmhs150k", "MMHS150K_GT.json", "{", r"MMHS150K_GT\.json: can't be read \(Expecting property name"),
        ("mmhs150k", "MMHS150K_GT.json", "[]", r"should be a JSON object, of tweets by their ids"),
        ("harmeme", "train.jsonl", "", "no labelled post in 0 rows"),
    ],
)
def test_a_file_that_is_not_the_sets_is_refused(
    tmp_path: Path, form: PublicSet, name: str, content: str, says: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(Misconfigured, match=says):
        load(tmp_path / name, (POLICY,), policy=POLICY, form=form)


@pytest.mark.parametrize("form", get_args(PublicSet))
def test_a_path_without_the_set_is_refused(tmp_path: Path, form: PublicSet) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(Misconfigured):
            load(path, (POLICY,), policy=POLICY, form=form)


def test_a_split_of_mmhs150k_names_its_tweets(tmp_path: Path) -> None:
    tweets = (("11", tweet(1, 1, 1)), ("12", tweet(0, 0, 0)), ("12", tweet(1, 1, 1)))
    split = lines(mmhs150k(tmp_path, *tweets) / "splits" / "test_ids.txt", "11", "", "12", "14")
    loaded = load(split, (POLICY,), policy=POLICY, form="mmhs150k")
    assert labels(loaded) == {"11": True}
    known = tmp_path / "MMHS150K_GT.json"
    assert [(row.where, row.why) for row in loaded.left_out] == [
        (f"{split}:3", f"tweet 12: is twice in {known}"),
        (f"{split}:4", f"tweet 14: is not in {known}"),
    ]


@pytest.mark.parametrize(
    ("joint", "image", "text", "expected"),
    [
        (True, False, False, "combined"),
        (True, False, True, "text_only"),
        (True, True, False, "image_only"),
        (True, True, True, "either"),
        (False, True, False, "context_mitigated"),
        (False, False, True, "context_mitigated"),
        (False, True, True, "context_mitigated"),
        (False, False, False, "none"),
    ],
)
def test_vlsus_three_labels_are_an_attribution_class(
    tmp_path: Path, *, joint: bool, image: bool, text: bool, expected: AttributionClass
) -> None:
    assert classify(joint=joint, image=image, text=text) == expected
    for violating in ("unsafe", "borderline"):
        grades = [violating if each else "safe" for each in (image, text, joint)]
        (one,) = load(vlsu(tmp_path, pair("u1", *grades)), (POLICY,), policy=POLICY, form="vlsu").posts
        assert (one.labels, one.attribution) == ({POLICY: joint}, {POLICY: expected})
        assert one.slices == ("_".join(grades), "C9: Interpersonal Violence")


def test_a_pair_of_which_one_part_is_unsure_has_a_label_and_no_attribution_class(tmp_path: Path) -> None:
    (one,) = load(vlsu(tmp_path, pair("u1", "not_sure", "safe", "unsafe")), (POLICY,), policy=POLICY, form="vlsu").posts
    assert (one.labels, one.attribution) == ({POLICY: True}, {})


def test_vlsus_files_beside_its_images_are_not_taken_for_images(tmp_path: Path) -> None:
    path = vlsu(tmp_path, pair("u1", "safe", "safe", "safe"))
    for name in ("u1.json", "u1.txt", "._u1.jpg"):  # img2dataset writes the first two
        (tmp_path / "images" / name).write_text("{}")
    loaded = load(path, (POLICY,), policy=POLICY, form="vlsu")
    assert [image.url for one in loaded.posts for image in one.post.images] == ["file:images/u1.jpg"]


def test_vlsu_without_a_folder_of_images_is_read_from_where_they_are(tmp_path: Path) -> None:
    path = lines(tmp_path / "VLSU.csv", VLSU_HEADER, pair("u9", "safe", "safe", "safe", ""))
    (one,) = load(path, (POLICY,), policy=POLICY, form="vlsu").posts
    assert [image.url for image in one.post.images] == ["https://images.example/u9.jpg"]
    assert one.slices == ("safe_safe_safe",)
