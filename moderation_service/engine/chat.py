"""A post and a question as a chat request: the words of `prompts`, the frame left to the server's own template."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Self

from PIL import Image

from moderation_service.contracts.pixels import Pixels
from moderation_service.contracts.question import Questionnaire
from moderation_service.engine.pictures import shrunk, widened
from moderation_service.engine.prompts import MAX_NEW_TOKENS, ChatFrame, Prompts

NO_FRAME = ChatFrame("", "", "", "", "")

CELL = 28
"""Pixels a side of what the family reads as one token."""

LEAST_CELLS = 16
"""The family's processors enlarge smaller pictures to so many."""

MARKS = 2
"""Tokens round a picture's."""

BYTES_A_TOKEN = 8
"""More than a token of running text covers on average, in either language; none covers less than one byte."""

LEAST_WORDS = 64  # bytes; fewer are not worth another try

Message = dict[str, Any]

_OWN = {"chat_template_kwargs": {"enable_thinking": False}, "repetition_penalty": 1.0, "temperature": 0}
"""The first token is to be the answer's, and nothing that the checkpoint brings for chatting is to move it."""

SCORING: Message = {**_OWN, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
WRITING: Message = {**_OWN, "max_tokens": MAX_NEW_TOKENS}


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a post goes to the server: its words, and its pictures as data URLs."""

    words: str
    pictures: tuple[str, ...]
    truncated: bool = False

    @classmethod
    def fitting(cls, text: str, images: Sequence[Pixels], room: int) -> Self:
        """Pictures and words in some `room` tokens, by the rule of the local engine but without a tokenizer.

        Words may take what pictures leave, and half of the room whatever the pictures are. Pictures share the rest
        evenly and are shrunk to their share; where the family reads no picture with so little, they are left out.
        Whether the words fit is for the server to say: see `shorter`.
        """
        raw = text.encode()
        words = raw[: room * BYTES_A_TOKEN].decode(errors="ignore")
        left = room - min(len(raw), room // 2)
        pictures: list[str] = []
        for number, pixels in enumerate(images):
            share = left // (len(images) - number) - MARKS
            if share < LEAST_CELLS:
                break
            picture, tokens = _within(pixels, share)
            pictures.append(_data_url(picture))
            left -= tokens + MARKS
        return cls(words, tuple(pictures), truncated=len(words) < len(text) or len(pictures) < len(images))

    def shorter(self) -> Self | None:
        """The first half of the words, or where there are none the pictures but the last; None of nothing."""
        if self.words:
            raw = self.words.encode()
            half = raw[: len(raw) // 2] if len(raw) > LEAST_WORDS else b""
            return replace(self, words=half.decode(errors="ignore"), truncated=True)
        return replace(self, pictures=self.pictures[:-1], truncated=True) if self.pictures else None


NOTHING = Shown("", ())


def messages(prompts: Prompts, opening: str, shown: Shown, tail: str) -> list[Message]:
    """The turns: what all posts share comes first, and what differs between the questions of a post last."""
    system = prompts.layout == "policies_first"
    parts: list[Message] = [{"type": "text", "text": opening}] if opening and not system else []
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in shown.pictures]
    # One part, so that no template puts anything between a post and what is asked of it.
    parts.append({"type": "text", "text": prompts.words(shown.words) + tail})
    turns = [{"role": "system", "content": opening}] if system else []
    begun = [{"role": "assistant", "content": prompts.answer_prefix}] if prompts.answer_prefix else []
    return [*turns, {"role": "user", "content": parts}, *begun]


def continuing(prompts: Prompts) -> Message:
    """What lets a server go on with the answer that the messages begin."""
    return {"add_generation_prompt": False, "continue_final_message": True} if prompts.answer_prefix else {}


def digest(prompts: Prompts) -> str:
    """Digest of all that shapes a chat prompt but the policies and the post: of the words, and how they are put."""
    sample = messages(prompts, prompts.opening(Questionnaire("en", ())), Shown("words", ("picture",)), "tail")
    shape = [prompts.digest, sample, SCORING, CELL, LEAST_CELLS, MARKS, BYTES_A_TOKEN, LEAST_WORDS]
    return "sha256:" + hashlib.sha256(json.dumps(shape).encode()).hexdigest()


def _within(pixels: Pixels, allowed: int) -> tuple[Pixels, int]:
    """A picture in at most `allowed` tokens of the family, and how many it takes there."""
    rows, columns = (-(-side // CELL) for side in pixels.shape[:2])
    if rows * columns <= allowed:
        return pixels, max(rows * columns, LEAST_CELLS)
    small = shrunk(pixels, (rows, columns), allowed, CELL)
    return small, max(small.shape[0] * small.shape[1] // CELL**2, LEAST_CELLS)


def _data_url(pixels: Pixels) -> str:
    """Without loss, so that the server sees the same pixels; hardly compressed, which takes most of the time."""
    png = BytesIO()
    Image.fromarray(widened(pixels)).save(png, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
