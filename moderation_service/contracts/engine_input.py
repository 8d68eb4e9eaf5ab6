"""What an engine is given: pixels of images, and the policies' questions in one language."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""height x width x 3, RGB, C-contiguous."""
Language = str
"""A language tag (BCP 47) in canonical form."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one policy: its one-sentence question, and its definition for `prompt = full`."""

    policy_id: str
    question: str
    definition: str


@dataclass(frozen=True, slots=True)
class Questionnaire:
    """The questions of a policy pack in one language. Hashable: an engine keeps what it computes per pack."""

    language: Language
    questions: tuple[Question, ...]
