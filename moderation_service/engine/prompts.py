"""The pieces of a prompt: `prefix + post + suffix`, one suffix a question. Pure text, no tokenizer.

The pieces are tokenized apart, so that every engine shares what comes first, and reads the answer's first token behind
each suffix. What stands in the prefix and what in the suffixes is the layout's (`layouts/`):

    post_first      prefix: user turn         post        suffix: the policy's question
    policies_first  prefix: the whole pack    post        suffix: a selector naming the policy
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from moderation_service.contracts.engine_input import Language, Question, Questionnaire
from moderation_service.engine.untrusted import CONTROL, MAY_BE_DISGUISED, STRANGE, neutralise
from moderation_service.errors import Fatal
from moderation_service.languages.tags import primary_language
from moderation_service.languages.wordings import OF_PROMPT_DIGEST, PromptWording, wording_of
from moderation_service.settings import LayoutName

PromptName = Literal["brief", "full"]

PACKED_ATTENTION = "packed_behind_prefix"
"""Attention of many posts in one row behind one prefix: `local/packed_row.py`."""

_SAMPLE = "words <|user|> [gMASK] /nothink"


@dataclass(frozen=True, slots=True)
class Labels:
    """The words by which a model says that a post violates, `yes`, or does not, `no`: variants of one answer."""

    yes: tuple[str, ...] = ("yes", "Yes", "是")
    no: tuple[str, ...] = ("no", "No", "否")

    @classmethod
    def of(cls, pairs: Sequence[str]) -> "Labels":
        """From pairs as `engine.labels` has them, "unsafe/safe"."""
        yes, no = zip(*(pair.split("/") for pair in pairs), strict=True)
        return cls(yes, no)

    def asked_in(self, language: Language) -> tuple[str, str]:
        """The pair that a prompt in this language asks for.

        The pair of its own words where `engine.labels` has them, as `ja/nein`; else the first of Chinese words for
        Chinese, and the first of others for the rest.
        """
        pairs = list(zip(self.yes, self.no, strict=True))
        own, is_chinese = wording_of(language).prompt.answer_word, primary_language(language) == "zh"
        if own_pair := next((pair for pair in pairs if own and pair[0].lower() == own), None):
            return own_pair
        return next((pair for pair in pairs if pair[0].isascii() != is_chinese), pairs[0])


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """What a checkpoint's chat template puts round our words.

    Without a system turn a prompt is `user + (images, words) + close`, with one it is
    `system + (words) + user_after_system + (images, words) + close`.
    """

    user: str
    system: str
    user_after_system: str
    image: str
    close: str


def chat_frame(render: Callable[[list[dict[str, Any]]], str]) -> ChatFrame:
    """Read the frame off a template by rendering marked messages. Raises Fatal if a mark gets lost."""
    image_part = {"type": "image"}

    def user(*parts: dict[str, str]) -> dict[str, Any]:
        return {"role": "user", "content": [*parts, {"type": "text", "text": "USERWORDS"}]}

    plain = render([user()])
    with_image = render([user(image_part)])
    with_system = render([{"role": "system", "content": "SYSTEMWORDS"}, user()])
    try:
        prefix, close = plain.split("USERWORDS")
        system, rest = with_system.split("SYSTEMWORDS")
        user_after_system, _ = rest.split("USERWORDS")
        image = with_image.removeprefix(prefix).split("USERWORDS")[0]
    except ValueError as error:
        msg = "the model's chat template does not hand on the words of a system and a user turn"
        raise Fatal(msg) from error
    return ChatFrame(prefix, system, user_after_system, image, close)


MAX_NEW_TOKENS = 128
"""Of an explanation: two sentences in any language, with room to spare."""


def explanation_suffix(language: Language, findings: Sequence[str]) -> str:
    """What is asked behind a flagged post that is to be explained; the answer's first token follows."""
    return wording_of(language).prompt.explain.format(findings="\n".join(f"- {finding}" for finding in findings))


class Layout(Protocol):
    """Where a prompt has the policies."""

    name: LayoutName

    policies_in_prefix: bool
    """The prefix is a system turn that holds the pack: it is as long as the policies, and they see one another."""

    attention: str
    """The attention of the local engine that computes these prompts, by its name in transformers."""

    def prefix(self, questions: Sequence[Question], prompt: PromptName, wording: PromptWording) -> str:
        """What every post of which these questions are asked stands behind."""

    def suffix(self, question: Question, prompt: PromptName, wording: PromptWording) -> str:
        """What is asked behind the post."""

    def policy_characters(self, question: Question, prompt: PromptName) -> int:
        """How many characters of the policy's own its suffix has, by which batches are filled."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The pieces of every prompt for one checkpoint, layout and prompt mode.

    `answer_prefix` is what the model says before its label word. It comes behind each suffix, in the model's own turn.
    """

    frame: ChatFrame
    layout: Layout
    prompt: PromptName
    labels: Labels = Labels()
    answer_prefix: str = ""

    def prefix(self, questionnaire: Questionnaire) -> str:
        """Everything before the post: the same for every post judged by this questionnaire."""
        words = self.layout.prefix(questionnaire.questions, self.prompt, wording_of(questionnaire.language).prompt)
        if self.layout.policies_in_prefix:
            return self.frame.system + words + self.frame.user_after_system
        return self.frame.user + words

    def words(self, text: str) -> str:
        """The post's words as the model reads them, behind its images (`frame.image` each)."""
        return neutralise(text) if self.prompt == "brief" else f"<post>\n{neutralise(text)}\n</post>"

    def suffixes(self, questionnaire: Questionnaire) -> tuple[str, ...]:
        """What is asked behind the post, one a question; the answer's first token follows."""
        wording = wording_of(questionnaire.language).prompt
        yes, no = self.labels.asked_in(questionnaire.language)
        end = (wording.answer.format(yes=yes, no=no) if self.prompt == "full" else "") + self.frame.close
        return tuple(self.layout.suffix(question, self.prompt, wording) + end for question in questionnaire.questions)

    @property
    def digest(self) -> str:
        """Digest of all that shapes a prompt but the policies and the post: a sample of each piece, as it is read.

        The sentences of languages beyond English and Chinese are in the digests of the policies that are written so.
        """
        sample = (Question("id", "question", "definition"),)
        samples = [Questionnaire(language, sample) for language in OF_PROMPT_DIGEST]
        pieces = [[self.prefix(each), *self.suffixes(each)] for each in samples]
        made_harmless = [sought.pattern for sought in (CONTROL, STRANGE, MAY_BE_DISGUISED)]
        shape = [
            self.layout.name,
            self.prompt,
            pieces,
            self.frame.image,
            self.words(_SAMPLE),
            self.labels.yes,
            self.labels.no,
            *made_harmless,
            *filter(None, [self.answer_prefix]),
        ]
        return "sha256:" + hashlib.sha256(json.dumps(shape).encode()).hexdigest()
