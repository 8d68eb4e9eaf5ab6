"""The words of a policy, by language."""

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, RootModel
from pydantic.config import JsonDict

from moderation_service.contracts.engine_input import Language
from moderation_service.languages.tags import canonical_tag, nearest_tag

_SECOND_SENTENCE = re.compile(r"[!?。！？].|(?P<word>[\w.]*)\.\s+(?=[A-Z])|\n", re.DOTALL)
_ABBREVIATION = re.compile(
    r"(.*\.)?[A-Za-z]|abs|approx|art|bspw|bzw|ca|cf|co|corp|dr|ej|etc|evtl|fig|gen|ggf|gov|inc|inkl|jr|ltd|mr|mrs|ms|no|"
    r"nr|num|prof|resp|sec|sog|sr|sra|st|str|ud|uds|usw|vgl|vs|zzgl",
    re.IGNORECASE,
)
_QUESTION_MARKS = "?？؟;\N{GREEK QUESTION MARK}՞"


def _one_question(text: str) -> str:
    if text and text[-1] not in _QUESTION_MARKS:
        msg = "is not a question; should end with a question mark"
        raise ValueError(msg)
    ends = (end["word"] for end in _SECOND_SENTENCE.finditer(text))
    if any(word is None or not _ABBREVIATION.fullmatch(word) for word in ends):
        msg = "has more than one sentence; should be one question, the rest belongs in definition"
        raise ValueError(msg)
    return text


QuestionText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_question)]


def _canonical(tag: str) -> str:
    if (right := canonical_tag(tag)) != tag:
        msg = f"is not in canonical form; should be {right}"
        raise ValueError(msg)
    return tag


Tag = Annotated[Language, AfterValidator(_canonical)]
Words = Annotated[str, Field(min_length=1, max_length=4000)]
_TAGS: JsonDict = {
    "propertyNames": {"pattern": "^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?(-[a-z0-9]{4,8})*$"}
}


class Texts(RootModel[dict[Tag, Words]]):
    """The same words in one or more languages, by language tag (BCP 47)."""

    model_config = ConfigDict(frozen=True, strict=True, str_strip_whitespace=True)

    root: dict[Tag, Words] = Field(min_length=1, description="words in that language", json_schema_extra=_TAGS)

    def in_language(self, language: Language) -> str:
        """The words in one language; where it is missing in the nearest, else in English, else in the first."""
        tag = nearest_tag(language, self.root) or ("en" if "en" in self.root else next(iter(self.root)))
        return self.root[tag]


class Questions(Texts):
    """One question of one sentence in each language."""

    root: dict[Tag, QuestionText] = Field(
        min_length=1, description="one question in that language", json_schema_extra=_TAGS
    )
