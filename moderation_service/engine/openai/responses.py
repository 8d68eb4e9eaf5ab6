"""What an OpenAI-compatible server answers, as far as it is read here, and label scores from it."""

import math
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from moderation_service.engine.answer_prefix import FirstTokens
from moderation_service.engine.base import LabelScore
from moderation_service.engine.prompts import Labels

_ROUNDING = 0.01
_LEAST = 1e-9  # a probability that float32 still tells from none
_CONTROL = re.compile(r"<\|[^<>|]*\|>|</?\w+>|\[[a-zA-Z]*MASK\]|/nothink")


class ModelCard(BaseModel):
    """A model that the server has; what it says beyond the name is an extension of vLLM's and others."""

    id: str
    max_model_len: int | None = None
    revision: str | None = None


class ModelList(BaseModel):
    """The answer of `/models`."""

    data: list[ModelCard]


class Usage(BaseModel):
    """Tokens; servers that keep prefixes may say how many of the prompt's were kept."""

    class Details(BaseModel):
        """Of the prompt's tokens."""

        cached_tokens: int | None = None

    prompt_tokens: Annotated[int, Field(gt=0)]
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None

    @property
    def computed_tokens(self) -> int:
        """Tokens of the prompt that the model had to read."""
        kept = self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens
        return self.prompt_tokens - (kept or 0)


class TopLogprob(BaseModel):
    """A token that may come next, and its log-probability."""

    token: str
    logprob: Annotated[float, Field(le=_ROUNDING)]


class TokenLogprobs(BaseModel):
    """What may stand in one place of the answer, the likeliest first."""

    top_logprobs: Annotated[list[TopLogprob], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        # Written so that it refuses what is not a number, too.
        if not 0 < sum(math.exp(one.logprob) for one in self.top_logprobs) <= 1 + _ROUNDING:
            msg = "probabilities should sum to at most 1"
            raise ValueError(msg)
        return self


class ChoiceLogprobs(BaseModel):
    """The `logprobs` of a choice."""

    content: Annotated[list[TokenLogprobs], Field(min_length=1)]


class ChatCompletion(BaseModel):
    """What all answers have."""

    model: str
    usage: Usage


class ScoringResponse(ChatCompletion):
    """The answer to a question, of which only the first token's likely ones are read."""

    class Choice(BaseModel):
        """One of one."""

        logprobs: ChoiceLogprobs

    choices: Annotated[list[Choice], Field(min_length=1)]

    def first_tokens(self, labels: Labels) -> FirstTokens:
        """The tokens that may come first, and what they say of the labels."""
        likely = self.choices[0].logprobs.content[0].top_logprobs
        return FirstTokens(self.label(labels), tuple((one.token, math.exp(one.logprob)) for one in likely))

    def label(self, labels: Labels) -> LabelScore:
        """Label variants summed; none at all is undecided.

        Of a label that is not among the likeliest, each variant is at most as likely as the last of those: that bound
        counts, so that no score is surer than what was seen. The mass is what was seen.
        """
        likely = self.choices[0].logprobs.content[0].top_logprobs
        yes, no = (
            sum(math.exp(one.logprob) for one in likely if one.token in words) for words in (labels.yes, labels.no)
        )
        mass = min(yes + no, 1.0)
        if not mass:
            return LabelScore(0.5, 0.0)
        last = max(min(math.exp(one.logprob) for one in likely), _LEAST)
        yes, no = yes or last * len(labels.yes), no or last * len(labels.no)
        return LabelScore(yes / (yes + no), mass)


class GenerationResponse(ChatCompletion):
    """The answer in words."""

    class Choice(BaseModel):
        """One of one."""

        class Message(BaseModel):
            """What the assistant says."""

            content: str | None

        message: Message
        finish_reason: str | None = None

    choices: Annotated[list[Choice], Field(min_length=1)]

    @property
    def text(self) -> str:
        """What was said: no control token, and nothing of what was thought before."""
        answer = (self.choices[0].message.content or "").rpartition("</think>")[2].partition("<think>")[0]
        return _CONTROL.sub("", answer).strip()

    @property
    def finish_reason(self) -> Literal["itself", "length"]:
        """What ended it."""
        return "itself" if self.choices[0].finish_reason == "stop" else "length"
