"""The demonstration model's tokenizer: byte-level BPE over generated posts, the policies' questions and the answers."""

from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo_model.model import SPECIAL_TOKENS, VOCABULARY
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.demo.glyphs import CLASSES
from moderation_service.demo.posts import draft
from moderation_service.demo.texts import INTENTS
from moderation_service.engine.prompts import Labels

POSTS = 30_000
REPEATS = 4000
"""So often does each answer stand in the corpus: often enough to become one token."""

NOTHING = "none"
IMAGE_QUESTION, TEXT_QUESTION = "\nWhat image?", "\nWhat text?"
"""Asked in training alone: they make the model say what it sees and reads."""

ONE_OF_SEVERAL = "{} {}?"
"""What is asked where it sees or reads several things: whether a certain one is among them."""

CHAT_TEMPLATE = """[gMASK]<sop>
{%- for message in messages -%}
<|{{ message.role }}|>{{ '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|begin_of_image|><|image|><|end_of_image|>
{%- elif part.type == 'text' -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>{{ '\\n' }}
{%- endif -%}
"""

# Runs of letters with the space before them, digits one by one, other marks, spaces.
_WORDS = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s"

_LOOKALIKES = dict(zip("асеіорѕхуАВСЕНКМОРТХ", "aceiopsxyABCEHKMOPTX", strict=True))
_PLAIN = (
    (r"[\x{1F000}-\x{1FAFF}\x{2600}-\x{27BF}\x{200D}\x{FE0F}]+", " "),
    (r"(?<=\S)·(?=\S)", ""),
    (r"(?<=\p{Han}) +(?=\p{Han})", ""),
    (r"(?<=\b\p{L}) (?=\p{L}\b)", ""),
    (r"  +", " "),
)
"""Emoji are spaces; what stands between Chinese characters or between single letters goes."""


def plain_spelling() -> normalizers.Normalizer:
    """What the model reads for words spelled to slip past it: full width, look-alikes, emoji or spaces between."""
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            *(normalizers.Replace(odd, plain) for odd, plain in _LOOKALIKES.items()),
            *(normalizers.Replace(Regex(odd), plain) for odd, plain in _PLAIN),
        ]
    )


def train_tokenizer(packs: Sequence[Questionnaire], seed: int) -> PreTrainedTokenizerFast:
    """Train on generated posts in trained wordings, and check that each answer is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = plain_spelling()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(packs, seed), trainer)
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",  # noqa: S106 - a token of text
        eos_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        chat_template=CHAT_TEMPLATE,
    )
    split = [answer for answer in answers() if len(whole.encode(answer, add_special_tokens=False)) != 1]
    if split or len(whole) != VOCABULARY:
        msg = f"the tokenizer has {len(whole)} tokens and splits the answers {split}"
        raise SystemExit(msg)
    return whole


def answers() -> tuple[str, ...]:
    """All that the model is ever trained to answer, and the labels it is read by."""
    return (*Labels().yes, *Labels().no, NOTHING, *dict.fromkeys((*CLASSES, *INTENTS)))


def _corpus(packs: Sequence[Questionnaire], seed: int) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for _ in range(POSTS):
        yield draft(rng).text
    asked = [line for pack in packs for q in pack.questions for line in (q.question, f"{q.policy_id}: {q.policy_id}?")]
    for line in (*asked, *answers(), IMAGE_QUESTION, TEXT_QUESTION):
        for _ in range(REPEATS):
            yield line
