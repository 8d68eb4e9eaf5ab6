"""From what a model wrote to what a verdict may say: two whole sentences at most, in bounds, contact data masked."""

import re
import unicodedata
from itertools import islice, pairwise

from moderation_service.contracts.question import Language
from moderation_service.normalization import nfkc
from moderation_service.policies.language import language_of
from moderation_service.telemetry.redaction import redacted

MAX_CHARACTERS = 400
MASK = "[…]"

_READ = 4 * MAX_CHARACTERS
_POST_READ = 2**18
"""Characters of the post that are looked at for quotations: more than a model is shown."""
_LEAST = 8
"""Fewer characters are an answer, such as `yes`, and no explanation."""
_VERBATIM: dict[Language, int] = {"en": 24, "zh": 10}
"""So many letters and digits of the post in one run are a quotation."""
_SENTENCES = 2

_MARKUP = re.compile(r"^[^\S\n]*+(?:[-•]\s+|\d+[.)、]\s*)|[*`#]", re.MULTILINE)
_END = re.compile(r"(?:[。！？]+|(?<![.!?])[.!?]++(?=[”’\")]?(?:\s+[^a-z\s]|\s*$)))[”’\")）]?")
_LOOP = re.compile(r"(.{2,40}?)\1{3}|(.)\2{7}")
_CONTACT = re.compile(
    r"(?:https?://|www\.)[^\s，。]+"  # a link
    r"|(?<![a-z0-9._%+-])[a-z0-9._%+-]++[@＠][a-z0-9.-]+"  # an e-mail address
    r"|[@＠]\w+"  # an account
    r"|(?<![a-z0-9-])(?:[a-z0-9-]{1,63}\.){1,9}[a-z]{2,}(?:/[^\s，。]*)?"  # a link without its scheme
    r"|\+?\d(?:[\W_]{0,2}\d){4,}",  # a telephone, card or identity number
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")


class Unfit(Exception):  # noqa: N818 - no failure: the template says it instead
    """The text can't stand in a verdict; `reason` is a bounded word for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def fit(written: str, post_text: str, language: Language) -> str:
    """What of `written` a verdict may say. Raises Unfit where nothing of it may."""
    said, post_text = _plain(written), post_text[:_POST_READ]
    if len(said) < _LEAST:
        raise Unfit("empty")
    if _LOOP.search(said):
        raise Unfit("looping")
    ends = [0, *(end.end() for end in islice(_END.finditer(said), _SENTENCES))]
    sentences = [said[begin:end].strip() for begin, end in pairwise(ends)]
    if not sentences:
        raise Unfit("unfinished")
    if len(set(sentences)) < len(sentences):
        raise Unfit("looping")
    if language_of("auto", None, "".join(sentences)) != language:
        raise Unfit("wrong_language")
    if _quotes("".join(sentences), post_text, _VERBATIM[language]):
        raise Unfit("quotes_post")
    between = " " if language == "en" else ""
    for count in range(len(sentences), 0, -1):
        text = _masked(between.join(sentences[:count]), post_text)
        if len(text) <= MAX_CHARACTERS:
            return text
    raise Unfit("too_long")


def _plain(text: str) -> str:
    """One line without mark-up, control and format characters (those that turn the direction of writing among them)."""
    lines = _MARKUP.sub("", text[:_READ])
    kept = "".join(" " if c.isspace() else c for c in lines if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(kept.replace("\N{REPLACEMENT CHARACTER}", "").split())


def _quotes(text: str, post_text: str, run: int) -> bool:
    """In time that grows with the post's length alone, whatever stands in it."""
    ours, theirs = _letters(text), _letters(post_text)
    said = {ours[at : at + run] for at in range(len(ours) - run + 1)}
    return any(theirs[at : at + run] in said for at in range(len(theirs) - run + 1))


def _letters(text: str) -> str:
    return "".join(c for c in nfkc(text, _POST_READ).casefold() if c.isalnum())


def _masked(text: str, post_text: str) -> str:
    """Contact data is masked wherever it is from, and so is every number that stands in the post."""
    known = {nfkc(number, _POST_READ) for number in _NUMBER.findall(post_text)}
    text = _CONTACT.sub(MASK, redacted(text, MASK))
    return _NUMBER.sub(lambda n: MASK if nfkc(n.group(), _POST_READ) in known else n.group(), text)
