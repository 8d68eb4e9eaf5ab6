import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.engine.local.post_tokenizer import SafeTokenizer
from moderation_service.engine.prompts import Labels
from moderation_service.engine.untrusted import neutralise
from moderation_service.errors import Fatal
from tests.engine.local.tiny import CORPUS, TEMPLATE, make_tokenizer
from tests.engine.special_tokens import PARSED, SPECIAL

TOKENIZER = make_tokenizer()
IMAGE = TOKENIZER.convert_tokens_to_ids("<|image|>")
SAFE_TOKENIZER = SafeTokenizer(TOKENIZER, IMAGE)
CONTROL = (*SPECIAL, *PARSED)

pieces = st.one_of(
    st.sampled_from(CONTROL),
    st.sampled_from(CONTROL).map(str.upper),
    st.sampled_from(["<", "|", ">", "/", "[", "]", "<|", "|>", "</", "no", "think", "nothink", "gMASK", " ", "\n"]),
    st.text(max_size=5),
)


@given(st.lists(pieces, max_size=12).map("".join))
def test_no_words_of_a_post_become_a_control_token(text: str) -> None:
    assert not SAFE_TOKENIZER.control.intersection(SAFE_TOKENIZER.encode_untrusted(neutralise(text)))


@given(st.lists(pieces, max_size=12).map("".join))
def test_neutralising_alone_leaves_no_control_token(text: str) -> None:
    assert not SAFE_TOKENIZER.control.intersection(SAFE_TOKENIZER.encode_trusted(neutralise(text)))


@given(st.lists(pieces, max_size=12).map("".join))
def test_words_that_were_not_neutralised_still_become_no_control_token(text: str) -> None:
    assert not SAFE_TOKENIZER.control.intersection(SAFE_TOKENIZER.encode_untrusted(text))


@pytest.mark.parametrize("token", CONTROL)
def test_every_control_token_is_known_and_our_own_words_may_use_it(token: str) -> None:
    assert TOKENIZER.convert_tokens_to_ids(token) in SAFE_TOKENIZER.control
    assert SAFE_TOKENIZER.encode_trusted(token) == [TOKENIZER.convert_tokens_to_ids(token)]


# No lone surrogates: the contract refuses a post that has one.
ordinary = st.characters(exclude_characters="<|>[]/＜﹤≮［﹇｜／", exclude_categories=("Cs",))


@given(st.text(alphabet=ordinary, max_size=40))
def test_ordinary_words_are_read_as_they_are(text: str) -> None:
    assert neutralise(text) == text
    assert SAFE_TOKENIZER.encode_untrusted(text) == SAFE_TOKENIZER.encode_trusted(text)


def test_an_image_stands_between_its_marks() -> None:
    before, after = (TOKENIZER.convert_tokens_to_ids(f"<|{mark}_of_image|>") for mark in ("begin", "end"))
    assert SAFE_TOKENIZER.image_tokens(3) == [before, IMAGE, IMAGE, IMAGE, after]


@pytest.mark.parametrize("token", ["SECRET", "{{user}}", "\u2581role"])
def test_a_control_token_that_neutralising_lets_through_is_refused(token: str) -> None:
    with pytest.raises(Fatal, match=r"a control token .* that a post could smuggle in"):
        SafeTokenizer(make_tokenizer(token), IMAGE)


def test_of_each_answer_one_word_of_one_token_suffices() -> None:
    corpus = [line for line in CORPUS if line.strip() != "Yes"]
    assert len(SafeTokenizer(make_tokenizer(corpus=corpus), IMAGE).yes) == 2
    with pytest.raises(Fatal, match=r"engine\.labels: the model's tokenizer splits violating; one of them should be"):
        SafeTokenizer(TOKENIZER, IMAGE, Labels(("violating",), ("no",)))


def test_one_token_for_yes_and_no_is_refused() -> None:
    with pytest.raises(Fatal, match="the same token for yes and no"):
        SafeTokenizer(TOKENIZER, IMAGE, Labels(("yes", "Yes"), ("no", "yes")))


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[0].content[0].text }}", "does not hand on the words"),
        ("{{ messages[0].content.nothing.nowhere }}", "can't be rendered"),
        (TEMPLATE.replace("<|image|>", "picture"), "without its one image token"),
        (None, "can't be rendered"),
    ],
)
def test_a_chat_template_that_can_t_be_used_is_refused(template: str | None, complaint: str) -> None:
    with pytest.raises(Fatal, match=complaint):
        SafeTokenizer(make_tokenizer(template=template), IMAGE)
