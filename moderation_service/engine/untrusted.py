"""Words of a post made harmless, in one place before any tokenizer, the same for the local and the remote engine."""

import re
import unicodedata
from functools import lru_cache
from itertools import chain

CONTROL = re.compile(r"<(?=[|/A-Za-z])|\[(?=[A-Za-z]*MASK\])|(?<=\|)(?=>)|(?<=/)(?=(?:no)?think)", re.IGNORECASE)
STRANGE = re.compile(r"[^\t-\r -~]")
MAY_BE_DISGUISED = re.compile("[<＜﹤≮\\[［﹇|｜/／℀℁℅℆]")

CHARACTERS_A_TOKEN = 64
"""More than a token of running text ever covers: what lies beyond room × this is cut before it is tokenized."""


def neutralise(text: str) -> str:
    """Break whatever a chat template or tokenizer of the family could take for a control token.

    A space is put inside `<|…`, `</…`, `<word`, `[gMASK]`, `|>`, `/nothink`, also where they come to light only when
    a tokenizer normalises (full-width and styled characters, invisible ones, accents); all else stays as it was.
    """
    text = CONTROL.sub(lambda match: match.group() + " ", text)
    if not (STRANGE.search(text) and MAY_BE_DISGUISED.search(text)):
        return text
    plain = [_plain(character) for character in text]
    places = list(chain.from_iterable([place] * len(folded) for place, folded in enumerate(plain)))
    broken = {places[match.end() - 1] for match in CONTROL.finditer("".join(plain))}
    return "".join(character + " " if place in broken else character for place, character in enumerate(text))


@lru_cache(4096)
def _plain(character: str) -> str:
    """What the strongest of normalisers would leave of a character."""
    folded = unicodedata.normalize("NFKD", character)
    return "".join(c for c in folded if c in "\t\n\r" or unicodedata.category(c)[0] not in "CM")
