"""A post and a question as a chat request: the words of `prompts`, the frame left to the server's own template."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Self

from PIL import Image

from moderation_service.contracts.engine_input import Pixels, Questionnaire
from moderation_service.engine.base import pad_narrow, shrink
from moderation_service.engine.prompts import MAX_NEW_TOKENS, ChatFrame, Prompts

NO_FRAME = ChatFrame("", "", "", "", "")

CELL = 28
"""Pixels a side of what the family reads as one token."""

LEAST_CELLS = 8
"""The family's processors enlarge smaller images to at least so many: half of `shortest_edge`, of two frames."""

MARKS = 2
"""Tokens round an image's."""

BYTES_A_TOKEN = 8
"""More than a token of running text covers on average, in either language; none covers less than one byte."""

LEAST_WORDS = 64  # bytes; fewer are not worth another try

Message = dict[str, Any]

_OWN = {"chat_template_kwargs": {"enable_thinking": False}, "repetition_penalty": 1.0, "temperature": 0}
"""The first token is to be the answer's, and nothing that the checkpoint brings for chatting is to move it."""

SCORING_PARAMETERS: Message = {**_OWN, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
GENERATION_PARAMETERS: Message = {**_OWN, "max_tokens": MAX_NEW_TOKENS}


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image of so many `pixels` as it is sent: its `data_url`, or None where its `uuid` stands for what was sent."""

    data_url: str | None
    uuid: str | None = None
    pixels: int = 0

    @property
    def part(self) -> Message:
        """The content part of a chat message; `uuid`, and an image that is null, are vLLM's extension."""
        image = None if self.data_url is None else {"url": self.data_url}
        return {"type": "image_url", "image_url": image, **({"uuid": self.uuid} if self.uuid else {})}


@dataclass(frozen=True, slots=True)
class FittedPost:
    """What of a post goes to the server: its words and its images."""

    words: str
    images: tuple[EncodedImage, ...]
    truncated: bool = False

    @classmethod
    def fit(cls, text: str, images: Sequence[Pixels], room: int, uuid_key: bytes | None = None) -> Self:
        """Images and words in some `room` tokens, by the rule of the local engine but without a tokenizer.

        Words may take what images leave, and half of the room whatever the images are. Images share the rest
        evenly and are shrunk to their share; where the family reads no image with so little, they are left out.
        Whether the words fit is for the server to say: see `shorter`. With a `uuid_key` images have UUIDs.
        """
        raw = text.encode()
        words = raw[: room * BYTES_A_TOKEN].decode(errors="ignore")
        left = room - min(len(raw), room // 2)
        sent: list[EncodedImage] = []
        for number, pixels in enumerate(images):
            share = left // (len(images) - number) - MARKS
            if share < LEAST_CELLS:
                break
            image, tokens = _within(pixels, share)
            sent.append(_encoded(image, uuid_key))
            left -= tokens + MARKS
        return cls(words, tuple(sent), truncated=len(words) < len(text) or len(sent) < len(images))

    def by_uuid(self) -> Self:
        """The same with no image's content, for a server that has just been sent it."""
        return replace(self, images=tuple(replace(image, data_url=None) for image in self.images))

    def shorter(self) -> Self | None:
        """The first half of the words, or where there are none the images but the last; None of nothing."""
        if self.words:
            raw = self.words.encode()
            half = raw[: len(raw) // 2] if len(raw) > LEAST_WORDS else b""
            return replace(self, words=half.decode(errors="ignore"), truncated=True)
        return replace(self, images=self.images[:-1], truncated=True) if self.images else None


EMPTY_POST = FittedPost("", ())


def messages(prompts: Prompts, prefix: str, shown: FittedPost, suffix: str) -> list[Message]:
    """The turns: what all posts share comes first, and what differs between the questions of a post last."""
    system = prompts.layout.policies_in_prefix
    parts: list[Message] = [{"type": "text", "text": prefix}] if prefix and not system else []
    parts += [image.part for image in shown.images]
    # One part, so that no template puts anything between a post and what is asked of it.
    parts.append({"type": "text", "text": prompts.words(shown.words) + suffix})
    turns = [{"role": "system", "content": prefix}] if system else []
    begun = [{"role": "assistant", "content": prompts.answer_prefix}] if prompts.answer_prefix else []
    return [*turns, {"role": "user", "content": parts}, *begun]


def continuation_params(prompts: Prompts) -> Message:
    """What lets a server go on with the answer that the messages begin."""
    return {"add_generation_prompt": False, "continue_final_message": True} if prompts.answer_prefix else {}


def digest(prompts: Prompts) -> str:
    """Digest of all that shapes a chat prompt but the policies and the post: of the words, and how they are put."""
    # The samples' words are part of recorded digests: they stay.
    shown = FittedPost("words", (EncodedImage("picture"),))
    sample = messages(prompts, prompts.prefix(Questionnaire("en", ())), shown, "tail")
    shape = [prompts.digest, sample, SCORING_PARAMETERS, CELL, LEAST_CELLS, MARKS, BYTES_A_TOKEN, LEAST_WORDS]
    return "sha256:" + hashlib.sha256(json.dumps(shape).encode()).hexdigest()


def _within(pixels: Pixels, allowed: int) -> tuple[Pixels, int]:
    """An image in at most `allowed` tokens of the family, and how many it takes there."""
    rows, columns = (-(-side // CELL) for side in pixels.shape[:2])
    if rows * columns <= allowed:
        return pixels, max(rows * columns, LEAST_CELLS)
    small = shrink(pixels, (rows, columns), allowed, CELL)
    return small, max(small.shape[0] * small.shape[1] // CELL**2, LEAST_CELLS)


def _encoded(pixels: Pixels, uuid_key: bytes | None) -> EncodedImage:
    """Without loss, so that the server sees the same pixels; hardly compressed, which takes most of the time.

    The UUID is a digest under a key of this process, so that no other client of the server can put an image under it.
    """
    file = BytesIO()
    Image.fromarray(pad_narrow(pixels)).save(file, "PNG", compress_level=1)
    png = file.getvalue()
    uuid = None if uuid_key is None else hashlib.blake2b(png, key=uuid_key, digest_size=32).hexdigest()
    return EncodedImage("data:image/png;base64," + base64.b64encode(png).decode(), uuid, math.prod(pixels.shape[:2]))
