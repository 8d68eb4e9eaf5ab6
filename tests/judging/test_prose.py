from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.contracts.engine_input import Language
from moderation_service.judging.explanation import MASK, MAX_CHARACTERS, UnusableExplanation, sanitize_explanation
from tests.telemetry.test_redaction import MARKED
from tests.timing import cpu_time_below

SAID = "The picture shows a weapon. The words offer it to a buyer."
CHINESE = "图片展示了一把刀。文字向买家出售它。"
PATIENT_S = 2.0  # a millisecond; minutes where the time grew with the cube


@pytest.mark.parametrize(
    ("written", "language", "says"),
    [
        (SAID, "en", SAID),
        (CHINESE, "zh", CHINESE),
        (f"{SAID} A third sentence.", "en", SAID),
        (f"{CHINESE}还有一句。", "zh", CHINESE),
        (f"{SAID} A third one that was cut off by", "en", SAID),
        (
            "  The picture\nshows a weapon.\n\nThe words offer it.  ",
            "en",
            "The picture shows a weapon. The words offer it.",
        ),
        ("**Picture:** shows a `weapon`.", "en", "Picture: shows a weapon."),
        (
            "1. The picture shows a knife.\n2. The words offer it.",
            "en",
            "The picture shows a knife. The words offer it.",
        ),
        (
            "It shows a weapon, e.g. a knife. The words offer it.",
            "en",
            "It shows a weapon, e.g. a knife. The words offer it.",
        ),
        ('A sign says "sold." The words say "now!" And more.', "en", 'A sign says "sold." The words say "now!"'),
        ("It shows \u202ea weapon\u202c\x00\x1b[0m now.", "en", "It shows a weapon[0m now."),
    ],
)
def test_what_is_fit_is_kept_as_two_plain_sentences(written: str, language: Language, says: str) -> None:
    assert sanitize_explanation(written, "a post", language) == says


@pytest.mark.parametrize(
    ("written", "language", "reason"),
    [
        ("", "en", "empty"),
        (" \n\x00\ufffd", "en", "empty"),
        ("yes", "en", "empty"),
        ("否否否", "zh", "empty"),
        ("no否否否否否否否否否否否否否否否否", "zh", "looping"),
        ("The picture shows a gun and a gun and a gun and a gun and a gun.", "en", "looping"),
        ("The picture shows a gun. The picture shows a gun.", "en", "looping"),
        ("The picture shows a weapon that the words", "en", "unfinished"),
        (SAID, "zh", "wrong_language"),
        (CHINESE, "en", "wrong_language"),
        (" ".join(f"word{chr(97 + n % 26)}{n}" for n in range(90)) + ".", "en", "too_long"),
    ],
)
def test_what_is_not_fit_is_refused_by_name(written: str, language: Language, reason: str) -> None:
    with pytest.raises(UnusableExplanation) as caught:
        sanitize_explanation(written, "a post", language)
    assert caught.value.reason == reason


def test_a_second_sentence_that_is_too_long_is_left_out_whole() -> None:
    long = "The words " + " ".join(f"and{chr(97 + n % 26)}{n}" for n in range(90)) + "."
    assert len(long) > MAX_CHARACTERS
    assert sanitize_explanation(f"The picture shows a weapon. {long}", "a post", "en") == "The picture shows a weapon."


@pytest.mark.parametrize(
    ("written", "post", "language"),
    [
        ("The words say: Anna Berg lives at Elm Street in town.", "Go! Anna Berg lives at Elm Street in town", "en"),
        ("They say ANNA-BERG lives at elm street, in town.", "Anna Berg lives at Elm Street in town", "en"),
        ("文字写道张三住在朝阳区幸福路的小区。", "张三住在朝阳区幸福路的小区，去找他", "zh"),
    ],
)
def test_a_quotation_of_the_post_is_refused_however_it_is_spelled(written: str, post: str, language: Language) -> None:
    with pytest.raises(UnusableExplanation, match="quotes_post"):
        sanitize_explanation(written, post, language)


@pytest.mark.parametrize(
    ("written", "post", "says"),
    [
        ("The words give 555-0134-77 as a number.", "", f"The words give {MASK} as a number."),
        ("The picture shows +49 (30) 901820 on it.", "", f"The picture shows {MASK} on it."),
        ("Write to anna.berg@example.org now.", "", f"Write to {MASK} now."),
        ("See https://evil.example/x?y=1 for it.", "", f"See {MASK} for it."),
        ("The words name @anna_b on it.", "", f"The words name {MASK} on it."),
        ("Write to anna.berg＠example.org now.", "", f"Write to {MASK} now."),
        ("The words name ＠anna_b on it.", "", f"The words name {MASK} on it."),
        ("The words name t.me/anna_b there.", "", f"The words name {MASK} there."),
        ("The words name Evil.Example.", "", f"The words name {MASK}."),
        ("The words give 555–0134/77 there.", "5550134", f"The words give {MASK} there."),
        ("The words name house 12 there.", "Elm Street 12", f"The words name house {MASK} there."),
        ("The words name house 12 there.", "Elm Street １２", f"The words name house {MASK} there."),
        ("The picture shows 2 guns of 9 mm.", "Lightly used", "The picture shows 2 guns of 9 mm."),
    ],
)
def test_contact_data_and_the_posts_numbers_are_masked(written: str, post: str, says: str) -> None:
    assert sanitize_explanation(written, post, "en") == says


@pytest.mark.parametrize(("private", "_"), MARKED)
def test_no_private_number_is_explained(private: str, _: str) -> None:
    with suppress(UnusableExplanation):  # sixteen equal digits are not said at all
        said = sanitize_explanation(f"The words name {private} there.", "", "en")
        assert MASK in said
        assert private not in said


def test_a_post_of_many_megabytes_holds_no_explanation_up() -> None:
    with cpu_time_below(PATIENT_S):
        assert sanitize_explanation(SAID, "buy now 12 " * 4_000_000, "en")


def test_a_model_that_is_led_to_write_marks_holds_nothing_up() -> None:
    marks = "a"
    while len(marks) < 1500:  # no part of it follows itself, so it is no loop
        marks = "".join({"a": "abc", "b": "ac", "c": "b"}[mark] for mark in marks)
    with cpu_time_below(PATIENT_S), pytest.raises(UnusableExplanation, match="unfinished"):
        sanitize_explanation(f"Look {marks.translate(str.maketrans('abc', '.!?'))}x", "a post", "en")


@given(
    st.text("ab cd.!? \n图片。1\u202e\x00@/", max_size=600),
    st.text("ab 1图", max_size=30),
    st.sampled_from(["en", "zh"]),
)
def test_whatever_a_model_writes_stays_in_bounds(written: str, post: str, language: Language) -> None:
    with suppress(UnusableExplanation):
        said = sanitize_explanation(written, post, language)
        assert 0 < len(said) <= MAX_CHARACTERS
        assert said.isprintable()
