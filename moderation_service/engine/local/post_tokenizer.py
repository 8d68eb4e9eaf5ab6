"""A post as a model of the family reads it: image tokens, then words, cut to what fits."""

from collections.abc import Sequence
from dataclasses import dataclass

from moderation_service.contracts.engine_input import Pixels
from moderation_service.engine.image_resizing import shrunk
from moderation_service.engine.local.image_preprocessor import ImagePreprocessor, StagedImage
from moderation_service.engine.local.vocabulary import SafeTokenizer
from moderation_service.engine.prompts import Prompts

CHARACTERS_A_TOKEN = 64
"""More than a token of running text ever covers: what lies beyond room × this is cut before it is tokenized."""


@dataclass(frozen=True, slots=True)
class TokenizedPost:
    """The tokens of a post's images and words, in this order; `truncated` where some had to be left out."""

    ids: list[int]
    images: tuple[StagedImage, ...]
    truncated: bool


class PostTokenizer:
    """Turns pixels and text into tokens and images that are ready to be cut."""

    def __init__(self, preprocessor: ImagePreprocessor, vocabulary: SafeTokenizer, prompts: Prompts) -> None:
        self._preprocessor = preprocessor
        self._vocabulary = vocabulary
        self._words = prompts.words
        # What the prompt puts behind the post's words has to stay when they are cut.
        self._closing = vocabulary.untrusted(prompts.words("X").split("X")[1])

    def read(self, text: str, images: Sequence[Pixels], room: int) -> TokenizedPost:
        """Images first, then words, `room` tokens at most.

        Words may take what images leave, and half of the room whatever the images are, so that neither crowds
        out the other. Images share the rest evenly: one that needs more than its share is shrunk to it. Words that
        are still too long lose their end; an image that can't be shrunk enough, and all behind it, are left out.
        """
        words, cut = self._read_words(text, room if not images else max(room // 2, 1))
        ids: list[int] = []
        staged: list[StagedImage] = []
        for number, pixels in enumerate(images):
            share = (room - len(words) - len(ids)) // (len(images) - number)
            image = self._stage_within(pixels, share)
            if image is None:
                break
            ids += self._marks(image)
            staged.append(image)
        if cut:  # the images may have left more room than half
            words, cut = self._read_words(text, room - len(ids))
        return TokenizedPost([*ids, *words], tuple(staged), truncated=cut or len(staged) < len(images))

    def _stage_within(self, pixels: Pixels, share: int) -> StagedImage | None:
        """An image in at most `share` tokens; None where the processor does not go so low."""
        image = self._preprocessor.stage(pixels)
        tokens = len(self._marks(image))
        if tokens <= share:
            return image
        rows, columns = (int(side) // self._preprocessor.merge for side in image.grid[0, 1:])  # a token each
        allowed = share - (tokens - rows * columns)
        if allowed < 1:
            return None
        image = self._preprocessor.stage(shrunk(pixels, (rows, columns), allowed, self._preprocessor.unit))
        return image if len(self._marks(image)) <= share else None

    def _marks(self, image: StagedImage) -> list[int]:
        return self._vocabulary.image(int(image.grid.prod()) // self._preprocessor.merge**2)

    def _read_words(self, text: str, room: int) -> tuple[list[int], bool]:
        head = text[: room * CHARACTERS_A_TOKEN]
        ids = self._vocabulary.untrusted(self._words(head))
        if len(head) == len(text) and len(ids) <= room:
            return ids, False
        # The head's own closing goes with what is cut, and is put behind what is kept.
        kept = max(0, min(room, len(ids)) - len(self._closing))
        return [*ids[:kept], *self._closing][:room], True
