"""CSV sheets as people and spreadsheet programs write them."""

from pathlib import Path

import pytest

from moderation_service.contracts.post import Post
from moderation_service.errors import Misconfigured
from moderation_service.readers.post_files import COLUMNS, read_posts, unread
from moderation_service.readers.rows import BadPost
from moderation_service.readers.sheet import sheet_rows


def read(folder: Path, content: str | bytes, name: str = "posts.csv") -> tuple[dict[str, Post], dict[int, str]]:
    """The posts by id, and by line why a row is none."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = list(read_posts(path))
    wrong = [row for row in rows if isinstance(row, BadPost)]
    return (
        {row.post_id: row for row in rows if isinstance(row, Post)},
        {int(row.where.removeprefix(f"{path}:")): row.why for row in wrong},
    )


def test_a_row_with_a_comma_that_is_not_quoted_is_left_out_and_not_judged_by_half_of_its_words(tmp_path: Path) -> None:
    posts, wrong = read(tmp_path, "post_id,text\np-1,Nice day, I will find you\np-2,fine\np-3\n")
    assert posts.keys() == {"p-2"}
    assert wrong[2] == "should have 2 cells, as the header; it has 3, and a cell with a ',' in it needs double quotes"
    assert wrong[4].startswith("should have 2 cells, as the header; it has 1")


def test_a_cell_may_be_as_long_as_an_image_and_the_rows_behind_it_are_read(tmp_path: Path) -> None:
    posts, wrong = read(tmp_path, f"post_id,text\np-1,{'word ' * 40_000}\np-2,fine\n")
    assert (len(posts["p-1"].text), posts["p-2"].text, wrong) == (200_000, "fine", {})


@pytest.mark.parametrize(
    ("rows", "good", "wrong"),
    [
        (['p-1,"so nice,,', "p-2,bye,,", 'p-3,"Hello, you",a.png,'], {"p-2", "p-3"}, [2]),
        (['p-1,"so nice', "p-2,bye,,", "p-3,bye,,"], {"p-2", "p-3"}, [2]),
        (["p-1,bye,,", 'p-2,so,,"nice', "p-3,bye,,"], {"p-1", "p-3"}, [3]),
        (['p-1,"so ""nice"",,', 'p-2,"bye,,', "p-3,bye,,"], {"p-3"}, [2, 3]),
        (['p-1,"so nice,,', 'p-2,5",,', "p-3,bye,,"], {"p-2", "p-3"}, [2]),
        (['p-1,"so nice" she said,,', "p-2,bye,,"], {"p-2"}, [2]),
        (['p-1,"' + "x" * 1000 + "\n" + ("y" * 1000 + "\n") * 200, "p-2,bye,,"], {"p-2"}, [2, *range(3, 203)]),
    ],
)
def test_a_quote_that_is_not_closed_takes_no_row_behind_it_along(
    tmp_path: Path, rows: list[str], good: set[str], wrong: list[int]
) -> None:
    posts, faults = read(tmp_path, "\n".join(["post_id,text,images,language", *rows]) + "\n")
    assert posts.keys() == good
    assert list(faults) == wrong
    assert "a quote is not closed" in faults[wrong[0]]


def test_a_quoted_cell_goes_on_over_lines_and_its_row_is_named_by_the_first(tmp_path: Path) -> None:
    content = 'post_id,text,language\np-1,"two, or\n\nthree, or 4, lines",en\np-2,"a ""quoted"" word",en\np-3,"x\ny"\n'
    posts, wrong = read(tmp_path, content)
    assert posts["p-1"].text == "two, or\n\nthree, or 4, lines"
    assert posts["p-2"].text == 'a "quoted" word'
    assert list(wrong) == [6]


@pytest.mark.parametrize("header", ["post_id,text, images", "Post ID;TEXT;Images", "\ufeffpost-id\ttext\timages "])
def test_columns_are_known_by_their_names_in_any_case_and_with_spaces(tmp_path: Path, header: str) -> None:
    delimiter = next(one for one in ",;\t" if one in header)
    posts, wrong = read(tmp_path, f"{header}\np-1{delimiter}hello{delimiter}knife.png\n")
    assert [image.url for image in posts["p-1"].images] == ["file:knife.png"]
    assert not wrong


@pytest.mark.parametrize("column", ["image", "img", "imagse", "photo_url", "pictures", "file"])
def test_a_column_that_looks_like_the_images_is_refused_and_not_passed_over(tmp_path: Path, column: str) -> None:
    with pytest.raises(Misconfigured, match=rf"posts.csv:1: .*unknown column '{column}'; rename it to images"):
        read(tmp_path, f"post_id,text,{column}\np-1,hello,knife.png\n")


def test_a_column_that_nobody_reads_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("post_id,text,likes\np-1,hello,7\n")
    assert list(unread(path)) == [f"{path}: the column likes is not read"]
    assert [row.text for row in read_posts(path) if isinstance(row, Post)] == ["hello"]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"posts.csv:1: the header has the column text twice"):
        read(tmp_path, "post_id,text, Text\np-1,hello,other\n")


def test_words_in_a_column_without_a_name_are_a_wrong_row_but_not_a_first_column_of_numbers(tmp_path: Path) -> None:
    posts, wrong = read(tmp_path, ",post_id,text,\n0,p-1,Nice day, I will find you\n1,p-2,fine,\n")
    assert posts.keys() == {"p-2"}
    assert "a column without a name" in wrong[2]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"post_id;text\np-1;one, two\n", "posts.csv"),
        (b"post_id\ttext\np-1\tone, two\n", "posts.TSV"),
        (b'sep=;\r\npost_id;text\r\np-1;"one, two"\r\n', "posts.csv"),
        (b'"sep=|"\npost_id|text\np-1|one, two\n', "posts.csv"),
        ('\ufeffpost_id,text\r\np-1,"one, two"\r\n'.encode(), "posts.CSV"),
        ("post_id\ttext\np-1\tone, two\n".encode("utf-16"), "posts.csv"),
        ('\ufeffpost_id,text\np-1,"one, two"\n'.encode("utf-16-be"), "posts.csv"),
        (b'post_id,text\rp-1,"one, two"\r', "posts.csv"),
        (b'\n  \npost_id,text\n\np-1,"one, two"\n,\n\n', "posts.csv"),
    ],
)
def test_sheets_of_spreadsheet_programs_are_read(tmp_path: Path, content: bytes, name: str) -> None:
    posts, wrong = read(tmp_path, content, name)
    assert {one: post.text for one, post in posts.items()} == {"p-1": "one, two"}
    assert not wrong


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("你好，世界", "gb18030", "GB18030"),
        ("café crème", "latin-1", "WINDOWS-1252"),
        ("naïve", "cp1252", "WINDOWS-1252"),
    ],
)
def test_a_row_in_another_encoding_is_named_with_it_and_what_to_do(
    tmp_path: Path, text: str, encoding: str, says: str
) -> None:
    posts, wrong = read(tmp_path, b"post_id,text\np-1," + text.encode(encoding) + b"\np-2,bye\n")
    assert posts.keys() == {"p-2"}
    assert wrong[2].startswith(f"is not UTF-8, it seems to be {says}; save it as UTF-8, or: iconv -f {says} -t UTF-8")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; its first line should name the columns: post_id, text"),
        ("post_id,text\n".encode("utf-16-le"), "seems to be UTF-16"),
        ("帖子,text\n".encode("gb18030"), "seems to be GB18030"),
        (b"post_id|text\np-1|x\n", "no column post_id; it has post_id|text"),
        (b"PK\x03\x04rest", "is an Excel workbook or a ZIP archive; save the sheet as CSV UTF-8"),
    ],
)
def test_a_sheet_that_can_not_be_read_is_refused_with_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(Misconfigured, match=r"posts\.csv") as refused:
        read(tmp_path, content)
    assert says in str(refused.value)


@pytest.mark.parametrize("revision", ["²", "9" * 5000, "٣", "1.5", "-1", "two", "1e3"])
def test_a_revision_that_is_no_whole_number_is_left_out_and_the_rest_goes_on(tmp_path: Path, revision: str) -> None:
    posts, wrong = read(tmp_path, f"post_id,text,revision\np-1,hello,{revision}\np-2,bye,1.0\np-3,bye, 7 \n")
    assert {one: post.revision for one, post in posts.items()} == {"p-2": 1, "p-3": 7}
    assert wrong == {2: "revision: should be a whole number, such as 2"}


@pytest.mark.parametrize(
    "address", ["file:a.png", "https://cdn.example/a.png", "data:image/png;base64,AAAA", "DATA:,x"]
)
def test_an_address_in_a_cell_stays_as_it_is(tmp_path: Path, address: str) -> None:
    posts, _ = read(tmp_path, f'post_id,images\np-1,"{address}"\n')
    assert [image.url for image in posts["p-1"].images] == [address]


def test_ids_are_read_without_the_spaces_round_them(tmp_path: Path) -> None:
    posts, _ = read(tmp_path, "post_id,text,language\np-1\u00a0, hello , en\n")
    assert (posts["p-1"].text, posts["p-1"].language) == (" hello ", "en")


def test_many_quotes_that_are_not_closed_cost_no_more_than_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("post_id,text\n" + 'p-1,"""so\n' * 2000)
    assert sum(isinstance(row, BadPost) for _, row in sheet_rows(path, COLUMNS)) == 2000
