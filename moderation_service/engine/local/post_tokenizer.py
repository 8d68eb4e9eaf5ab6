"""A post to token ids as a model of the family reads it: image tokens, then words, cut to what fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from moderation_service.contracts.engine_input import Pixels
from moderation_service.engine.base import shrink
from moderation_service.engine.local.image_encoder import ImagePreprocessor, StagedImage
from moderation_service.engine.prompts import ChatFrame, Labels, Prompts, chat_frame
from moderation_service.engine.untrusted import CHARACTERS_A_TOKEN, neutralise
from moderation_service.errors import Fatal


class SafeTokenizer:
    """A checkpoint's tokenizer, for any thread: it keeps how it splits as state, so a lock lets one in at a time."""

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401 - tokenizers are untyped
        image_token_id: int,
        labels: Labels = Labels(),  # noqa: B008 - frozen
    ) -> None:
        """Read and check the tokenizer. Raises Fatal when it can't be used for scoring."""
        self._tokenizer = tokenizer
        self._lock = Lock()
        self.control: frozenset[int] = frozenset({*tokenizer.get_added_vocab().values(), *tokenizer.all_special_ids})
        self.pad = int(tokenizer.pad_token_id or 0)
        self.yes = self._label_ids(labels.yes)
        self.no = self._label_ids(labels.no)
        if set(self.yes) & set(self.no):
            msg = "the model's tokenizer has the same token for yes and no"
            raise Fatal(msg)
        self._check_neutralise()
        self.frame = self._frame()
        image = self.encode_trusted(self.frame.image)
        if image.count(image_token_id) != 1:
            msg = f"the model's chat template makes {self.frame.image!r} of an image, without its one image token"
            raise Fatal(msg)
        at = image.index(image_token_id)
        self._before_image, self._after_image, self._image_token = image[:at], image[at + 1 :], image_token_id

    def encode_trusted(self, text: str) -> list[int]:
        """The token ids of our own words: control tokens are read as such."""
        return self._encode(text, split_special_tokens=False)

    def encode_untrusted(self, text: str) -> list[int]:
        """The token ids of a post's words, which never hold a control token.

        `neutralise` has broken the spellings it knows. Behind it, special tokens are not parsed, and what is
        still parsed (added tokens that are not marked as special, a normaliser's doings) is left out.
        """
        return [token for token in self._encode(text, split_special_tokens=True) if token not in self.control]

    def decode_token(self, number: int) -> str:
        """A token as text, control tokens too."""
        return self._decode([number])

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The words of what a model wrote: no control token, and nothing of what it thought before it spoke."""
        begun, ended = (self._tokenizer.get_added_vocab().get(mark) for mark in ("<think>", "</think>"))
        said = list(ids)
        if ended in said:
            said = said[len(said) - said[::-1].index(ended) :]
        elif begun in said:
            said = said[: said.index(begun)]
        return self._decode([token for token in said if token not in self.control])

    def image_tokens(self, count: int) -> list[int]:
        """The token ids that stand for one image of that many image tokens, with the marks round it."""
        return [*self._before_image, *[self._image_token] * count, *self._after_image]

    def _encode(self, text: str, *, split_special_tokens: bool) -> list[int]:
        with self._lock:
            ids: list[int] = self._tokenizer.encode(
                text, add_special_tokens=False, split_special_tokens=split_special_tokens, verbose=False
            )
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            text: str = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def _label_ids(self, words: tuple[str, ...]) -> tuple[int, ...]:
        """Of those of the words that are one token each."""
        encoded = [self.encode_trusted(word) for word in words]
        whole = tuple(dict.fromkeys(ids[0] for ids in encoded if len(ids) == 1))
        if not whole:
            msg = f"engine.labels: the model's tokenizer splits {', '.join(words)}; one of them should be one token"
            raise Fatal(msg)
        return whole

    def _check_neutralise(self) -> None:
        # Other engines have no defence behind `neutralise`, and a verdict has to be the same from all.
        for number in sorted(self.control):
            token = self._tokenizer.convert_ids_to_tokens(number)
            if self.control.intersection(self.encode_trusted(neutralise(f"a{token}a"))):
                msg = f"the model's tokenizer has a control token {token!r} that a post could smuggle in"
                raise Fatal(msg)

    def _frame(self) -> ChatFrame:
        def render(messages: list[dict[str, Any]]) -> str:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
            return text

        try:
            return chat_frame(render)
        except Fatal:
            raise
        except Exception as error:  # a template is a program, if one that is shut in, and fails as it likes
            msg = f"the model's chat template can't be rendered: {error}".splitlines()[0]
            raise Fatal(msg) from error


@dataclass(frozen=True, slots=True)
class TokenizedPost:
    """The tokens of a post's images and words, in this order; `truncated` where some had to be left out."""

    ids: list[int]
    images: tuple[StagedImage, ...]
    truncated: bool


class PostTokenizer:
    """Turns pixels and text into tokens and images that are ready to be cut."""

    def __init__(self, preprocessor: ImagePreprocessor, tokenizer: SafeTokenizer, prompts: Prompts) -> None:
        self._preprocessor = preprocessor
        self._tokenizer = tokenizer
        self._words = prompts.words
        # What the prompt puts behind the post's words has to stay when they are cut.
        self._closing = tokenizer.encode_untrusted(prompts.words("X").split("X")[1])

    def tokenize(self, text: str, images: Sequence[Pixels], room: int) -> TokenizedPost:
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
        image = self._preprocessor.stage(shrink(pixels, (rows, columns), allowed, self._preprocessor.token_side))
        return image if len(self._marks(image)) <= share else None

    def _marks(self, image: StagedImage) -> list[int]:
        return self._tokenizer.image_tokens(int(image.grid.prod()) // self._preprocessor.merge**2)

    def _read_words(self, text: str, room: int) -> tuple[list[int], bool]:
        head = text[: room * CHARACTERS_A_TOKEN]
        ids = self._tokenizer.encode_untrusted(self._words(head))
        if len(head) == len(text) and len(ids) <= room:
            return ids, False
        # The head's own closing goes with what is cut, and is put behind what is kept.
        kept = max(0, min(room, len(ids)) - len(self._closing))
        return [*ids[:kept], *self._closing][:room], True
