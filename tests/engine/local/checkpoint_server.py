"""An OpenAI-compatible server for tests, which serves a checkpoint."""

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from aiohttp import web
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.engine.openai_server import Json

if TYPE_CHECKING:
    from collections.abc import Callable


class Refusal(Exception):  # noqa: N818 - an answer
    """A status, and what the server says with it."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def without_uuids(part: Json) -> Image.Image | None:
    """The image of a part, on a server that knows of no UUIDs."""
    if part["image_url"] is None:
        raise Refusal(422, "image_url: should be an object")
    return make_image(part)


class MediaCache:
    """The image of a part, or that which came with its UUID before, as vLLM has it."""

    def __init__(self, keeps: int = 100, without: int = 400) -> None:
        self.kept: dict[str, Image.Image] = {}
        self._keeps = keeps
        self._without = without

    def __call__(self, part: Json) -> Image.Image | None:
        uuid = part.get("uuid")
        if part["image_url"] is None:
            if uuid not in self.kept:
                raise Refusal(self._without, "Cache miss for image at index 0 but data is not provided.")
            return self.kept[uuid]
        image = make_image(part)
        if uuid and len(self.kept) < self._keeps:
            self.kept[uuid] = image
        return image


class CheckpointServer:
    """A checkpoint by its own chat template and plain forwards: it shares nothing with the local engine."""

    def __init__(self, folder: Path, *, limit: int = 1024, name: str = "judge") -> None:
        self.media: Callable[[Json], Image.Image | None] = without_uuids
        self.sizes: list[int] = []
        """Bytes of each chat request."""
        self.models: list[Json] = [{"id": name, "object": "model", "max_model_len": limit}]
        self.prompts: list[list[int]] = []
        self._name, self._limit = name, limit
        self._processor: Any = AutoProcessor.from_pretrained(folder)
        self._model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def complete(self, request: web.Request) -> web.Response:
        self.sizes.append(len(await request.read()))
        answering = asyncio.get_running_loop().run_in_executor(self._thread, self._complete, await request.json())
        try:
            status, answer = await answering
        except Refusal as refusal:
            return web.json_response({"error": {"message": str(refusal)}}, status=refusal.status)
        return web.json_response(answer, status=status)

    @torch.inference_mode()
    def _complete(self, body: Json) -> tuple[int, Json]:
        assert body["model"] == self._name
        images: list[Image.Image] = []
        text = self._processor.tokenizer.apply_chat_template(
            [{"role": turn["role"], "content": self._parts(turn["content"], images)} for turn in body["messages"]],
            tokenize=False,
            add_generation_prompt=body.get("add_generation_prompt", True),
            continue_final_message=body.get("continue_final_message", False),
            **body["chat_template_kwargs"],
        )
        inputs = self._processor(text=[text], images=images or None, return_tensors="pt")
        tokens = inputs["input_ids"].shape[1]
        if tokens + body["max_tokens"] > self._limit:
            said = f"This model's maximum context length is {self._limit} tokens. However, you requested {tokens}"
            return 400, {"error": {"message": said, "type": "BadRequestError", "code": 400}}
        self.prompts.append(inputs["input_ids"][0].tolist())
        choice: Json = {"index": 0, "finish_reason": "length"}
        written = 1
        if body.get("logprobs"):
            chances = self._model(**inputs, use_cache=False).logits[0, -1].float().log_softmax(-1)
            likely = [
                {"token": self._processor.tokenizer.decode([token]), "logprob": chance}
                for chance, token in zip(*map(torch.Tensor.tolist, chances.topk(body["top_logprobs"])), strict=True)
            ]
            choice |= {"message": {"content": likely[0]["token"]}}
            choice |= {"logprobs": {"content": [{**likely[0], "top_logprobs": likely}]}}
        else:
            said = self._model.generate(**inputs, do_sample=False, max_new_tokens=body["max_tokens"])[0, tokens:]
            written = len(said)
            choice |= {"message": {"content": self._processor.tokenizer.decode(said, skip_special_tokens=True)}}
            if written < body["max_tokens"]:
                choice["finish_reason"] = "stop"
        usage = {"prompt_tokens": tokens, "completion_tokens": written, "total_tokens": tokens + written}
        return 200, {"model": self._name, "choices": [choice], "usage": usage}

    def _parts(self, content: str | list[Json], images: list[Image.Image]) -> str | list[Json]:
        """What the template takes; images go to `images`."""
        if isinstance(content, str):
            return content
        parts: list[Json] = []
        for part in content:
            if part["type"] == "text":
                parts.append(part)
            elif image := self.media(part):
                images.append(image)
                parts.append({"type": "image"})
        return parts


def make_image(part: Json) -> Image.Image:
    """The image of an `image_url` part."""
    head, data = part["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    return Image.open(BytesIO(base64.b64decode(data)))
