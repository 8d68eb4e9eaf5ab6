import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.telemetry.redaction import redacted
from tests.telemetry.redaction_cases import ORDINARY, PERSONAL

EMAILS = ["anna.berg@example.org", "a+b@sub.example.co.uk", "张三@例子.中国", "12345678@qq.com", "anna＠example．org"]
IDS = [
    "11010519491231002X", "11010519491231002x", "440308199901010012", "110105 19491231 002X", "130503670401001",
    "A123456(3)", "A123456（3）", "AB987654(3)", "A123456789", "12345678Z", "X1234567L", "529.982.247-25",
    "52998224725", "900101-1234568", "078-05-1120", "１１０１０５１９４９１２３１００２X",
]  # fmt: skip
CARDS = [
    "4111 1111 1111 1111", "5500005555555559", "378282246310005", "6222021234567890128", "6222 0212 3456 7890 128",
    "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "４１１１１１１１１１１１１１１１",
]  # fmt: skip
PHONES = [
    "13812345678", "138 1234 5678", "138-1234-5678", "+86 138 1234 5678", "8613812345678", "008613812345678",
    "010-62345678", "(021) 6234 5678", "0755-8234567", "400-820-8820", "800 820 8820", "+49 (30) 901820",
    "+1 415 555 2671", "(415) 555-2671", "415-555-2671", "+44 20 7946 0958", "020 7946 0958", "+852 2345 6789",
    "１３８１２３４５６７８", "138.1234.5678",
]  # fmt: skip
MARKED = [
    *((text, "[e-mail]") for text in EMAILS), *((text, "[ID card]") for text in IDS),
    *((text, "[bank card]") for text in CARDS), *((text, "[phone]") for text in PHONES),
]  # fmt: skip
KEPT = [
    "11010519491231002Y", "110105194912310021", "110105194913310026",  # a wrong check digit, no such day
    "A123456(7)", "A123456788", "12345678A", "529.982.247-26", "900101-1234567", "000-05-1120",
    "4111 1111 1111 1112", "5500005555555558", "DE88370400440532013000", "0000 0000 0000 0000",
    "1234567890", "12812345678", "order 20260501123456789", "2026-05-01", "2026-05-01 09:30:00", "3.14159265358979",
    "¥12,800.00", "1 000 000", "version 1.2.3.4", "192.168.1.1", "ISO 8601-1:2019", "@anna", "a@b", "10:30-12:45",
    "sha256:4111111111111111aa", "p-17", "12-15 pcs, 100-200 each", "九成新，价格私聊 100元",
]  # fmt: skip


@pytest.mark.parametrize(("private", "mark"), MARKED)
@pytest.mark.parametrize("around", ["{}", "Call {} now.", "电话：{}，私聊", "（{}）", "x\n{}\ty"])
def test_what_is_private_is_marked_by_its_kind_and_nothing_else_is_touched(
    private: str, mark: str, around: str
) -> None:
    assert redacted(around.format(private)) == around.format(mark)


def test_personal_data_is_hidden_in_the_spellings_that_people_use() -> None:
    left = {text: re.sub(r"\[[\w -]+\]", "", redacted(f"here {text} thanks")) for text in PERSONAL}
    readable = {text: rest for text, rest in left.items() if text in rest or sum(map(str.isdigit, rest)) > 2}
    assert len(PERSONAL) >= 150
    assert len(readable) <= 0.05 * len(PERSONAL), readable


def test_ordinary_sentences_with_numbers_stay_as_they_are() -> None:
    hidden = {
        text: redacted(f"so {text}, they say")
        for text in ORDINARY
        if redacted(f"so {text}, they say") != f"so {text}, they say"
    }
    assert len(ORDINARY) >= 200
    assert len(hidden) <= 0.02 * len(ORDINARY), hidden


def test_a_text_of_nothing_but_numbers_is_hidden_without_looking_at_each() -> None:
    assert redacted("0612345679 x " * 5_000)[-20:].count("[phone]") == 2


@pytest.mark.parametrize("number", [*IDS, *CARDS, *PHONES])
def test_numbers_are_found_between_chinese_words(number: str) -> None:
    assert "[" in redacted(f"微信{number}加我")


@pytest.mark.parametrize("text", KEPT)
def test_numbers_that_are_none_of_these_stay(text: str) -> None:
    assert redacted(text) == text


def test_one_mark_may_stand_for_all() -> None:
    assert redacted("13812345678 or a@b.example", "[…]") == "[…] or […]"


@given(st.lists(st.sampled_from([text for text, _ in MARKED]), min_size=1, max_size=5))
def test_several_in_a_row_are_all_marked(private: list[str]) -> None:
    assert "".join(c for c in redacted("; ".join(private)) if c.isdigit()) == ""


@given(st.text(alphabet=st.sampled_from("0123456789 -+()@.aAxX１张，\n\u200b_一"), max_size=200))
def test_whatever_is_written_it_neither_fails_nor_marks_twice(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
