"""About how many tokens the model will read for a request, before any is read: calls are filled by it."""

from collections.abc import Sequence

from moderation_service.contracts.pixels import Pixels
from moderation_service.contracts.question import Question
from moderation_service.engine.base import EngineInfo, ExplainRequest, ScoreRequest
from moderation_service.settings import EngineSettings

_BYTES_A_TOKEN = 4  # English has some more; Chinese, of three bytes a character, fewer
_PIXELS_A_TOKEN = 28 * 28  # four patches of 14
_MARKS = 16  # of the chat template, behind each question
_WRITTEN = 256  # an explanation's findings and its answer


class TokenEstimator:
    """Of requests to an engine with these settings, whose model reads no more than `info` says."""

    def __init__(self, settings: EngineSettings, info: EngineInfo) -> None:
        self._settings = settings
        self._most, self._most_pixels = info.context_tokens, info.picture_pixels

    def view(self, request: ScoreRequest) -> int:
        """The post and its tails; the opening is kept, and costs a call nothing."""
        questions = request.questionnaire.questions
        tails = sum(self._tail(questions[index]) for index in request.asked)
        return self._post(request.text, request.images) + tails

    def explanation(self, request: ExplainRequest) -> int:
        """The post, what was found, and what may be written."""
        return self._post(request.text, request.images) + _WRITTEN

    def _post(self, text: str, images: Sequence[Pixels]) -> int:
        words = len(text[: self._most * _BYTES_A_TOKEN].encode(errors="replace")) // _BYTES_A_TOKEN
        return min(self._most, words + sum(map(self._picture, images)))

    def _picture(self, image: Pixels) -> int:
        height, width = image.shape[:2]
        return int(min(height * width, self._most_pixels or height * width)) // _PIXELS_A_TOKEN

    def _tail(self, question: Question) -> int:
        if self._settings.layout == "policies_first":  # it only names the policy
            return _MARKS
        read = len(question.question) + (len(question.definition) if self._settings.prompt_mode == "full" else 0)
        return _MARKS + read // _BYTES_A_TOKEN
