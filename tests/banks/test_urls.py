import pytest

from moderation_service.banks.urls import UrlIndex, links_in, parse_entry, shortener


def found(entry: str, text: str) -> list[str]:
    """The places of a text that an entry covers."""
    index = UrlIndex()
    index.add({0: parse_entry(entry)})
    return [text[begin:end] for _, spans in index.search(links_in(text)).values() for begin, end in spans]


@pytest.mark.parametrize(
    ("entry", "text", "place"),
    [
        ("bad.com", "see http://bad.com.", "http://bad.com"),
        ("bad.com", "see bad.com!", "bad.com"),
        ("bad.com", "(www.shop.bad.com/a?b=c)", "www.shop.bad.com/a?b=c"),
        ("bad.com", "hxxps://bad[.]com/path", "hxxps://bad[.]com/path"),
        ("bad.com", "bad (dot) com", "bad (dot) com"),
        ("bad.com", "https://user:pw@bad.com:8080/a", "https://user:pw@bad.com:8080/a"),
        ("bad.com", "BAD。COM", "BAD。COM"),
        ("bad.com", "ｂａｄ．ｃｏｍ", "ｂａｄ．ｃｏｍ"),
        ("bad.com", "b\u200bad.com", "b\u200bad.com"),
        ("bad.com", "请看bad.com谢谢", "请看bad.com谢谢"),
        ("bad.com", "_bad.com_", "_bad.com_"),
        ("bücher.de/shop", "http://xn--bcher-kva.de/shop/1", "http://xn--bcher-kva.de/shop/1"),
        ("http://xn--bcher-kva.de", "BÜCHER.de", "BÜCHER.de"),
        ("site.example.com/a", "site.example.com/a/b#c", "site.example.com/a/b#c"),
        (
            "youtube.com/watch?v=abc",
            "https://www.youtube.com/watch?v=abc&t=1",
            "https://www.youtube.com/watch?v=abc&t=1",
        ),
        ("bad.github.io", "bad.github.io/x", "bad.github.io/x"),
        ("abcdef.onion", "abcdef.onion", "abcdef.onion"),
        ("93.184.216.34", "http://93.184.216.34/x", "http://93.184.216.34/x"),
        ("1.2.3.4", "http://0x01020304/", "http://0x01020304/"),
        ("1.2.3.4", "http://16909060", "http://16909060"),
        ("1.2.3.4", "http://01.02.772/", "http://01.02.772/"),
        ("1.2.3.4", "http://[::ffff:1.2.3.4]/", "http://[::ffff:1.2.3.4]/"),
        ("1.2.3.4", "at 1.2.3.4:8080", "1.2.3.4"),
        ("bad.com", "http://b%61d%2ecom/", "http://b%61d%2ecom/"),
        ("bad.com", "http:\\\\bad.com\\@good.com", "http:\\\\bad.com\\@good.com"),
        ("bad.com", "http://ⓑⓐⓓ․ⓒⓞⓜ", "http://ⓑⓐⓓ․ⓒⓞⓜ"),
        ("bad.com", "bаd.cоm", "bаd.cоm"),
        ("bad.com", "bad[.com", "bad[.com"),
        ("bad.com", "bad\\.com", "bad\\.com"),
        ("bad.com", "bad dot com", "bad dot com"),
        ("bad.com", "bad . com", "bad . com"),
        ("bad.com", "bad·com", "bad·com"),
        ("bad.com", "https://good.com/?u=http%3A%2F%2Fbad.com", "https://good.com/?u=http%3A%2F%2Fbad.com"),
        ("bad.com/shop", "bad.com/./x/..//shop;a=1", "bad.com/./x/..//shop;a=1"),
    ],
)
def test_an_entry_covers_a_link_however_it_is_written(entry: str, text: str, place: str) -> None:
    assert found(entry, text) == [place]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("bad.com", "notbad.com bad.company bad.com.example.org bad.net"),
        ("bad.com", "http://bad.com@good.com/"),
        ("shop.bad.com", "bad.com and other.bad.com"),
        ("bad.com/shop", "bad.com/shopping bad.com"),
        ("youtube.com/watch?v=abc", "youtube.com/watch?v=abcd"),
        ("bad.github.io", "good.github.io"),
        ("cher.de", "bücher.de"),
        ("bad.com", "It was bad. Come in"),
        ("bad.com", "bád.com"),
        ("cop.com", "сор.com"),
        ("1.2.3.4", "version 1.2.3.4 of 16909060"),
        ("this.is", "the file this.txt and e.g. 1.5"),
    ],
)
def test_other_links_and_what_is_no_link_are_no_match(entry: str, text: str) -> None:
    assert found(entry, text) == []


@pytest.mark.parametrize("value", ["co.uk", "http://github.io/", "com", "two words", "café"])
def test_a_public_suffix_and_what_is_no_link_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"public suffix|nor a link"):
        parse_entry(value)


def test_a_shortener_is_named() -> None:
    (short, long) = links_in("t.co/abc example.org/abc")
    assert (shortener(short), shortener(long)) == ("t.co", None)
