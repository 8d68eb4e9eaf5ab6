"""What an engine is: label scores for questions about a text with images. And what both kinds of engine share.

An engine knows nothing of Kafka, verdicts or thresholds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from PIL import Image

from moderation_service.contracts.engine_input import Language, Pixels, Question, Questionnaire
from moderation_service.settings import LayoutName

OUT_OF_MEMORY = "out_of_memory"
"""Reason of the Transient that an engine raises for a call that may be too large: smaller ones may go through."""

MAX_CACHED_PREFIXES = 8
"""Enforced and shadow policies in two languages, of the pack in force and of a shadow pack.

Of more languages the prefix that was not used for longest is computed anew when it is wanted.
"""

MAX_ASPECT = 150
"""The family's image processors refuse images longer than 200 times their width."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One view of one post, and which questions of the questionnaire to answer (indices)."""

    text: str
    images: tuple[Pixels, ...]
    questionnaire: Questionnaire
    asked: tuple[int, ...]


WARM_UP = ScoreRequest(
    text="Good morning",
    images=(np.full((64, 64, 3), 127, np.uint8),),
    questionnaire=Questionnaire("en", (Question("warm_up", "Is the post a greeting?", "The post greets."),)),
    asked=(0,),
)
"""What every engine can answer: asked at the start, and where it has to be told whether a post or the engine fails."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """`score` is p(yes) / (p(yes) + p(no)), `mass` is p(yes) + p(no), each summed over label variants."""

    score: float
    mass: float


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """The answers to `asked`, in its order; `tokens` read, pixels of each image that was; whether the text was cut."""

    labels: tuple[LabelScore, ...]
    tokens: int
    pixels_read: tuple[int, ...]
    truncated: bool

    @classmethod
    def unasked(cls, images: Sequence[Pixels]) -> Self:
        """Of a post of which nothing is asked, so that nothing stays unread."""
        return cls(
            (), tokens=0, pixels_read=tuple(image.shape[0] * image.shape[1] for image in images), truncated=False
        )


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A post, what it was found to violate (a line each, our own words), and the seconds that the answer may take."""

    text: str
    images: tuple[Pixels, ...]
    language: Language
    findings: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """What the model wrote, no control token in it, of `tokens` that it read; and what ended it."""

    text: str
    finish_reason: Literal["itself", "length", "time"]
    tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a verdict records of the engine, so that it can be replayed, and two bounds that it records in digests only.

    The model reads no more than `image_pixels` of an image, None where that is not known, and no prompt of more
    than `context_tokens`.
    """

    name: str
    revision: str
    dtype: str
    quantization: str | None
    engine: str
    layout: LayoutName
    prompt_digest: str
    context_tokens: int
    image_pixels: int | None = None


class Engine(Protocol):
    """Start it, score with it, close it. `score` may be called from many tasks at once."""

    @property
    def info(self) -> EngineInfo:
        """Known after `start`."""

    async def start(self) -> None:
        """Load and warm up. Raises Fatal when the model can't be loaded."""

    async def prepare(self, questionnaire: Questionnaire) -> None:
        """Compute what all posts of a questionnaire share. Raises Misconfigured where it leaves no room for a post."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
        """Answer each request. Raises Transient when the same call may go through later, or in parts."""

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        """Write why each post was flagged, the likeliest word each time; no score depends on it. Raises as `score`."""

    async def close(self) -> None:
        """Free what `start` took."""


@runtime_checkable
class SupportsPreprocessing(Protocol):
    """An engine that prepares requests while it scores others."""

    async def preprocess(self, requests: Sequence[ScoreRequest]) -> Sequence[ScoreRequest]:
        """The same requests, for `score`, as far prepared as can be without the model."""


def pad_narrow(pixels: Pixels) -> Pixels:
    """Repeat the edge of an image too narrow for the processor; others are left as they are."""
    height, width = pixels.shape[:2]
    least = -(-max(height, width) // MAX_ASPECT)
    if min(height, width) >= least:
        return pixels
    return np.pad(pixels, ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0)), mode="edge")


def shrink(pixels: Pixels, cells: tuple[int, int], allowed: int, unit: int) -> Pixels:
    """An image of `cells` (rows, columns; a token each, `unit` pixels a side) made one of at most `allowed` cells."""
    rows, columns = cells
    scale = math.sqrt(allowed / (rows * columns))
    rows = max(1, min(int(rows * scale), allowed))
    columns = max(1, min(int(columns * scale), allowed // rows))
    small = Image.fromarray(pixels).resize((columns * unit, rows * unit), Image.Resampling.BICUBIC)
    return np.asarray(small)
