"""Records as a hostile or broken producer might send them: made whole, or a good one mutated."""

import base64
import gzip
import json
from collections.abc import Callable
from io import BytesIO

from aiokafka import ConsumerRecord
from hypothesis import strategies as st
from PIL import Image

from tests.stream.records import record


def _encoded(kind: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (24, 16), "red").save(out, kind)
    return out.getvalue()


def _text(words: str) -> bytes:
    return json.dumps(words, ensure_ascii=False).encode()


IMAGES = tuple(map(_encoded, ("PNG", "JPEG", "GIF", "WEBP")))
FRAGMENTS: tuple[bytes, ...] = (
    # no value, a wrong type, a wrong number
    b"", b"null", b"true", b"0", b"-1", b"1.5", b"1e400", b"-1e400", b"NaN", b"Infinity", b"-Infinity", b"01", b"0x10",
    b"9" * 30, b"9" * 4299, b"9" * 5000, b"1" + b"0" * 300 + b".0", b"1e-400", b"[]", b"{}", b"[[]]", b'""', b"tru",
    # words
    b'"\\u0000"', b'"a\\u0000b"', b'"a\x00b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b'"\\',
    b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xe4\xb8', b'"unended', b"'single'",
    _text("\u202e\u2066\u200b\ufeff\u0301" * 20), _text("\U000e0041" * 50), _text("ا﷽" * 50), _text("x" * 600),
    _text("<|user|>[gMASK]/nothink<|image|>"), _text("{{7*7}}${7*7}{%print(1)%}"), _text("'; DROP TABLE posts;--"),
    # depth
    b"[" * 150 + b"]" * 150, b"[" * 400 + b"]" * 400, b"[" * 400, b'{"a":' * 150 + b"1" + b"}" * 150, b'{"a":' * 400,
    b'[{"a":' * 90 + b"1" + b"}]" * 90,
    # much
    b"[" + b"0," * 2000 + b"0]", b"{" + b",".join(b'"k%d":1' % n for n in range(500)) + b"}",
    b'{"k":1,"k":2,"k":{"k":3}}', b'{"":0}', b'{"\\u0000":0}', b'{"\\ud800":0}', b"{1:2}",
    # images
    b'[{"url":"https://10.0.0.1/a.png"}]', b'[{"url":"https://nowhere.example/a.png"}]', b'[{"url":""}]', b"[null]",
    b'[{"url":"file:///etc/passwd"}]', b'[{"url":"http://[::1/"}]', b'[{"url":"data:,"}]', b'[{"url":"a","data":"b"}]',
    b'[{"url":"data:image/png;base64,\xc3\xbc"}]', b'[{"object":"s3://bucket/../key"}]', b'[{"object":"\\u0000"}]',
    b'[{"data":"not base64"}]', b'[{"data":"AAAA","media_type":7}]', b'[{"data":""}]', b"[{}]", b'[{"url":{}}]',
    b"[" + b'{"data":"AAAA"},' * 60 + b'{"data":"AAAA"}]',
    # times
    b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2026-02-30T00:00:00Z"', b"1e18", b'"2026"',
)  # fmt: skip
FIELDS = (
    b"schema_version", b"post_id", b"revision", b"created_at", b"author_id", b"language", b"surface", b"text",
    b"images", b"metadata", b"other", b"", b"post_id\\u0000",
)  # fmt: skip
HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("content-type", b"application/json"), ("content-type", b"text/plain"), ("content-type", b"\xff"),
    ("content-type", None), ("Content-Type", b"application/cloudevents+json"), ("traceparent", b"\xff\x00"),
    ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), ("traceparent", b"0" * 5000),
    ("ce_specversion", b"1.0"), ("ce_specversion", b"9"), ("ce_id", b"\xff"), ("ce_id", b"e" * 5000),
    ("ce_source", b"s"), ("ce_type", b"t"), ("ce_time", b"\xff"), ("", b""), ("\ufffd", b"\x00"),
    ("dlq.errors.reason", b"forged"),
)  # fmt: skip


def _image(data: bytes) -> bytes:
    return b'[{"data":"%s"}]' % base64.b64encode(data)


def _damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """A good thing with some bytes changed, cut, doubled or put in."""
    at = st.integers(0, len(data))

    def change(kind: str, begin: int, end: int, new: bytes) -> bytes:
        begin, end = sorted((begin, end))
        match kind:
            case "cut":
                return data[:begin]
            case "drop":
                return data[:begin] + data[end:]
            case "double":
                return data[:end] + data[begin:]
            case _:
                return data[:begin] + new + data[begin + len(new) :]

    return st.builds(change, st.sampled_from(["cut", "drop", "double", "put"]), at, at, st.binary(max_size=6))


_words = st.text(max_size=60).map(_text)
_images = st.sampled_from(IMAGES).flatmap(lambda whole: st.just(whole) | _damaged(whole)).map(_image)
_pairs = st.tuples(st.sampled_from(FIELDS), st.sampled_from(FRAGMENTS) | _words | _images)
GOOD: tuple[tuple[bytes, bytes], ...] = ((b"post_id", b'"p-1"'), (b"text", b'"I sell it, DM me"'))


def _joined(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % pair for pair in pairs) + b"}"


_made = st.lists(_pairs, max_size=4).map(_joined)
_mutated = st.lists(_pairs, max_size=2).map(lambda pairs: _joined([*GOOD, *pairs]))
_doubled = st.builds(lambda pair: _joined([*GOOD, pair, *GOOD, pair]), _pairs)
_with_image = st.builds(lambda image: _joined([*GOOD, (b"images", image)]), _images)
_good_bytes = _joined([*GOOD, (b"images", _image(IMAGES[0])), (b"metadata", b'{"free":["form",1]}')])
_encodings = st.builds(
    lambda pair, how: how(_joined([*GOOD, pair]).decode("utf-8", "replace")),
    _pairs,
    st.sampled_from([
        lambda text: text.encode("utf-16"), lambda text: text.encode("utf-32"), lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("gbk", "replace"), lambda text: text.encode("latin-1", "replace"),
        lambda text: gzip.compress(text.encode()), lambda text: text.encode() * 2, lambda text: text.encode()[::-1],
        lambda text: b"\0\0\0\0\x11" + text.encode(), lambda text: b"\0\0\0\0\x11\0\x0a" + text.encode(),
    ]),
)  # fmt: skip
values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    _made,
    _mutated,
    _doubled,
    _with_image,
    _with_image,
    _damaged(_good_bytes),
    _encodings,
)
records: st.SearchStrategy[ConsumerRecord] = st.builds(
    lambda value, key, headers: record(value, key, tuple(headers)),
    values,
    st.one_of(st.none(), st.binary(max_size=12), st.just(b"p-1"), st.just(b"p-2")),
    st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(HEADERS), max_size=2)),
)
"""Any of them, with odd keys and headers."""


def post(**fields: bytes) -> bytes:
    """A good post with these fields, given as JSON, in the place of its own."""
    return _joined([*(dict(GOOD) | {name.encode(): value for name, value in fields.items()}).items()])


GIANTS: dict[str, Callable[[], bytes]] = {
    "50 MB of words": lambda: post(text=b'"' + b"buy now " * 6_250_000 + b'"'),
    "50 MB of Chinese, escaped": lambda: post(text=b'"' + b"\\u4e70" * 8_300_000 + b'"'),
    "50 MB of control tokens": lambda: post(text=b'"' + b"<|user|>" * 6_250_000 + b'"'),
    "50 MB of open brackets": lambda: b"[" * 50_000_000,
    "50 MB of digits": lambda: post(revision=b"9" * 50_000_000),
    "50 MB of spaces": lambda: b" " * 50_000_000,
    "50 MB of zeros": lambda: bytes(50_000_000),
    "50 MB that is no UTF-8": lambda: post(text=b'"' + b"x" * 50_000_000 + b'\xff"'),
    "50 MB of half surrogate pairs": lambda: post(text=b'"' + b"\\ud83d" * 8_300_000 + b'"'),
    "50 MB of escaped backslashes and half a surrogate pair": lambda: post(
        text=b'"' + b"\\" * 50_000_000 + b'\\ud83d"'
    ),
    "a post id of 50 MB": lambda: post(post_id=b'"' + b"x" * 50_000_000 + b'"'),
    "a picture of 50 MB": lambda: post(images=b'[{"data":"' + b"AAAA" * 12_500_000 + b'"}]'),
    "a link of 50 MB": lambda: post(images=b'[{"url":"https://a/' + b"a" * 50_000_000 + b'"}]'),
    "10,000 pictures": lambda: post(images=b"[" + b",".join([b'{"url":"https://10.0.0.1/"}'] * 10_000) + b"]"),
    "10,000 pictures that are none": lambda: post(images=b"[" + b"7," * 9_999 + b"7]"),
    "four million pictures that are none": lambda: post(images=b"[" + b"7," * 3_999_999 + b"7]"),
    "1,000 pictures": lambda: post(images=b"[" + b",".join([b'{"data":"AAAA"}'] * 1_000) + b"]"),
    "200,000 fields": lambda: (
        b'{"post_id":"p","text":"x"' + b"".join(b',"k%d":%d' % (n, n) for n in range(200_000)) + b"}"
    ),
    "the same field 300,000 times": lambda: b'{"post_id":"p"' + b',"text":"x"' * 300_000 + b"}",
    "metadata of 200,000 fields": lambda: post(
        metadata=b"{" + b",".join(b'"k%d":1' % n for n in range(200_000)) + b"}"
    ),
    "metadata of 500,000 lists": lambda: post(metadata=b'{"a":[' + b"[]," * 499_999 + b"[]]}"),
}
