import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.contracts.post import MAX_IMAGES, Post, read_post
from moderation_service.errors import Poison
from tests.timing import cpu_time_below


def read(**fields: object) -> Post:
    return read_post(json.dumps({"post_id": "p-1", "text": "hello", **fields}).encode())


def test_only_an_id_and_one_of_text_and_images_are_required() -> None:
    assert read_post(b'{"post_id": "p", "text": "x"}').images == ()
    assert read_post(b'{"post_id": "p", "images": [{"url": "https://a/b.png"}]}').text == ""


def test_null_is_the_same_as_absent() -> None:
    post = read(images=None, author_id=None, language=None, metadata=None)
    assert (post.images, post.metadata) == ((), {})
    assert read(text=None, images=[{"url": "https://a/b.png", "data": None}]).text == ""


def test_a_url_is_bounded_and_a_data_url_by_its_record_alone() -> None:
    for long in ("data:image/png;base64,", " DATA:,"):
        assert read(images=[{"url": long + "A" * 100_000}]).images[0].url == long + "A" * 100_000
    with pytest.raises(Poison, match=r"images\.0\.url: a URL should have at most 8192 characters"):
        read(images=[{"url": "https://a/" + "A" * 8192}])


def test_an_empty_or_odd_hint_does_not_make_a_post_unreadable() -> None:
    post = read(author_id="", surface="", language="")
    assert (post.author_id, post.surface, post.language) == (None, None, None)
    assert read(language="zh_CN").language == "zh-CN"
    assert read(language="klingon!").language is None


def test_unknown_fields_are_ignored_and_known_ones_handed_on() -> None:
    post = read(surface="feed", author_id="u-9", metadata={"free": ["form", 1]}, later_field=1)
    assert (post.surface, post.author_id, post.metadata) == ("feed", "u-9", {"free": ["form", 1]})


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (b"{", "not_json", "not JSON"),
        (b"\xff\xfe", "not_json", "not JSON: it is in UTF-16; send UTF-8"),
        ('{"post_id": "p", "text": "x"}'.encode("utf-16-be"), "not_json", "it is in UTF-16-BE; send UTF-8"),
        (b'{"post_id": "p", "text": "\xed\xa0\xbd"}', "not_json", "not JSON"),
        (b"[" * 100_000, "not_json", "recursion"),
        (b"\0\0\0\0\x11\x06p-1\x0ahello", "avro_or_protobuf", "schema id 17"),
        (b"\0\0\0\0\x11\0\x0a\x03p-1", "avro_or_protobuf", "JSON Schema serializer"),
        (b'\0\0\0\0\x11{"post_id": ', "not_json", "not JSON"),
        (b'\0\0\0\0\x11{"post_id": "p"}', "wrong_schema", "one of text and images is required"),
        (b"[]", "wrong_schema", "object"),
        (b'{"post_id": "p"}', "wrong_schema", "one of text and images is required"),
        (b'{"text": "x"}', "wrong_schema", "post_id: Field required"),
        (b'{"post_id": "", "text": "x"}', "wrong_schema", "post_id"),
        (b'{"post_id": 17, "text": "x"}', "wrong_schema", "post_id: Input should be a valid string"),
        (b'{"post_id": "p", "text": "x", "revision": "2"}', "wrong_schema", "revision"),
        (b'{"post_id": "p", "text": "x", "revision": 1e400}', "wrong_schema", "revision"),
        (b'{"post_id": "p", "text": "x", "created_at": "yesterday"}', "wrong_schema", "created_at"),
        (b'{"post_id": "p", "text": "x", "schema_version": "2"}', "wrong_schema", "schema_version"),
        (b'{"post_id": "p", "images": [{}]}', "wrong_schema", "images.0: exactly one of url, data and object"),
        (b'{"post_id": "p", "images": [{"url": "a", "data": "b"}]}', "wrong_schema", "exactly one of"),
        (
            b'{"post_id": "p", "images": [' + b",".join([b'{"url":"a"}'] * (MAX_IMAGES + 1)) + b"]}",
            "wrong_schema",
            "images: 1001 images, of which a post may have 1000",
        ),
    ],
)
def test_a_value_that_is_no_post_is_poison_that_names_the_field(value: bytes, reason: str, says: str) -> None:
    with pytest.raises(Poison) as caught:
        read_post(value)
    assert caught.value.reason == reason
    assert says in str(caught.value)


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\0\x11", b"\0\0\x01\x86\xa1"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_schema_registrys_frame_and_a_byte_order_mark_are_skipped(frame: bytes, mark: bytes) -> None:
    assert read_post(frame + mark + b' {"post_id": "p", "text": "x"}').text == "x"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\uDE00 first", "\ufffd first"),
        (r"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\\ud83d \\\ud83d \\\\ude00", "\\ud83d \\\ufffd \\\\ude00"),
        (r"\ud83d\\\ude00", "\ufffd\\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_is_a_replacement_character(escaped: str, text: str) -> None:
    assert read_post(b'{"post_id": "p", "text": "%s \\ud800"}' % escaped.encode()).text == f"{text} \ufffd"


def test_a_million_wrong_images_are_refused_without_a_look_at_each() -> None:
    few, many = (b'{"post_id": "p", "images": [' + b"1," * count + b"1]}" for count in (MAX_IMAGES, 1_000_000))
    with pytest.raises(Poison, match="1001 images"):
        read_post(few)
    # 0.1 s; five where each was complained of
    with cpu_time_below(2), pytest.raises(Poison, match="more than 50000 values"):
        read_post(many)


def test_the_refusal_never_quotes_the_post() -> None:
    with pytest.raises(Poison) as caught:
        read_post(json.dumps({"post_id": "p", "text": ["canary-in-the-text"], "surface": "canary" * 99}).encode())
    assert "canary" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_post_or_poison(value: bytes) -> None:
    with suppress(Poison):
        read_post(value)


@pytest.mark.parametrize(
    "many",
    [
        b'"metadata":{%s}' % b",".join(b'"k%d":1' % number for number in range(400_000)),
        b'"metadata":{"a":[%s[]]}' % (b"[]," * 400_000),
        b'"other":%s' % (b"[" * 400_000),
        b'"images":[%s""]' % (b'"",' * 400_000),
    ],
)
def test_more_values_than_any_post_needs_are_refused_before_they_are_read(many: bytes) -> None:
    with pytest.raises(Poison, match="more than 50000 values"):
        read_post(b'{"post_id":"p","text":"x",%s}' % many)


@pytest.mark.parametrize("text", ["a, b, c, " * 100_000, "[{" * 100_000, '\\"' * 100_000, '\\\\\\",' * 100_000])
def test_punctuation_within_the_words_counts_as_no_value(text: str) -> None:
    assert read_post(b'{"post_id":"p","text":"%s"}' % text.encode()).text
