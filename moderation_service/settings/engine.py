"""Section `engine`."""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator

from moderation_service.settings.section import PACKAGE, Section

DEMO_MODEL = PACKAGE / "demo" / "pictogram-glm4v"
DEMO_CALIBRATIONS = PACKAGE / "demo" / "calibrations"
LayoutName = Literal["post_first", "policies_first"]
_URL = re.compile(r"https?://[^\s/@?#]+[^\s@?#]*")


class EngineSettings(Section):
    """Which model answers, where, and what it reads."""

    kind: Literal["local", "openai"] = "local"
    """`local`: the worker runs the model. `openai`: an OpenAI-compatible server does."""
    model: str = str(DEMO_MODEL)
    """Folder of a checkpoint; of a server, the name that it lists."""
    revision: str | None = None
    """The model's revision that verdicts name; unset: the digest of the checkpoint, or what the server lists."""
    digests: Path | None = None
    """Digests of the weights, made by `k8s/model/digests.sh`, so that a start need not read them all."""
    adapter: Path | None = None
    """Folder of a LoRA adapter made by `moderation train`, merged into the model of the local engine when it loads."""
    device: str = "auto"
    """`auto`: the first GPU, else the CPU; or one of them: `cuda:1`, `cpu`."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """`auto`: bfloat16 on a GPU, float32 on a CPU. Of a server: recorded only."""
    quantization: Literal["int8", "int8_dynamic", "fp8"] | None = None
    """Eight bits for the weights of the linear layers. Of a server: recorded only."""
    layout: LayoutName = "post_first"
    """Where the policies stand in the prompt: after the post, or before it."""
    prompt: Literal["auto", "brief", "full"] = "auto"
    """`brief`: the bare question. `full`: the whole policy. `auto`: `brief` for the bundled model, else `full`."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)] = ("yes/no", "Yes/No", "是/否")
    """Pairs of answer words, the one that means *violates* first."""
    answer_prefix: str = "auto"
    """What the model says before its label word; `auto`: found at the start."""
    max_context_tokens: Annotated[int, Field(ge=256)] = 16384
    """Tokens of policies and post, and no more than the model's own context."""
    max_batch_tokens: Annotated[int, Field(ge=256)] = 16384
    """Tokens of posts and questions in one forward of the local engine."""
    base_url: str | None = None
    """Address of the server: http://HOST:PORT/v1."""
    api_key: SecretStr | None = None
    """Key of the server."""
    trusted: bool = False
    """Whether the server is yours alone: only then may it judge by a policy with `route: child_safety`."""
    request_timeout_s: PositiveFloat = 60.0
    """For one try of a request to the server."""
    startup_timeout_s: Annotated[float, Field(ge=0)] = 1800.0
    """How long `run` and `console` wait for a server to come up."""
    concurrent_requests: PositiveInt = 64
    """Requests to the server at once; each is one question about one post."""

    shadow_adapter: Path | None = None
    """Folder of a LoRA adapter: this model with it judges a share of the posts in shadow (`judging.shadow_share`)."""
    shadow_base_url: str | None = None
    """Address of a server whose model judges a share of the posts in shadow: http://HOST:PORT/v1."""
    shadow_model: str | None = None
    """Name of the shadow model on that server; unset: as `model`."""
    shadow_revision: str | None = None
    """Its revision that verdicts name; unset: what the server lists."""
    shadow_api_key: SecretStr | None = None
    """Key of that server."""

    @field_validator("labels")
    @classmethod
    def _are_pairs(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        sides = [pair.split("/") for pair in labels]
        if not all(len(pair) == 2 and all(pair) for pair in sides):  # noqa: PLR2004 - a pair
            msg = 'should be pairs of words, the one that says "violates" first: ["yes/no", "unsafe/safe"]'
            raise ValueError(msg)
        if both := {yes for yes, _ in sides} & {no for _, no in sides}:
            msg = f"{', '.join(sorted(both))} is on both sides; each word should stand for one answer"
            raise ValueError(msg)
        return labels

    @cached_property
    def is_bundled(self) -> bool:
        """Whether the model is the bundled one, here or on a server."""
        path = Path(self.model)
        return path.name == DEMO_MODEL.name if self.kind == "openai" else path.resolve() == DEMO_MODEL.resolve()

    @cached_property
    def prompt_mode(self) -> Literal["brief", "full"]:
        """`prompt` with `auto` resolved: the bundled model was trained on bare questions, others need the policies."""
        if self.prompt != "auto":
            return self.prompt
        return "brief" if self.is_bundled else "full"

    @model_validator(mode="after")
    def _a_server_has_an_address(self) -> Self:
        if self.kind == "openai" and not _URL.fullmatch(self.base_url or ""):
            msg = "kind openai needs base_url, the address of a server: http://HOST:PORT/v1, without a key in it"
            raise ValueError(msg)
        if self.kind == "openai" and self.adapter:
            msg = "adapter is for kind local; let the server load it, and set model to the name by which it serves it"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_shadow_model_is_one(self) -> Self:
        if self.shadow_adapter and (self.kind == "openai" or self.shadow_base_url):
            msg = "shadow_adapter is for kind local, without shadow_base_url; a server's goes by shadow_model"
            raise ValueError(msg)
        if self.shadow_base_url and not _URL.fullmatch(self.shadow_base_url):
            msg = "shadow_base_url should be the address of a server: http://HOST:PORT/v1, without a key in it"
            raise ValueError(msg)
        if (self.shadow_model or self.shadow_revision or self.shadow_api_key) and not self.shadow_base_url:
            msg = "shadow_model, shadow_revision and shadow_api_key need shadow_base_url, the address of the server"
            raise ValueError(msg)
        return self

    def for_shadow(self) -> "EngineSettings | None":
        """The settings of the shadow model's engine, which asks in the same way; None where there is none."""
        if self.shadow_adapter:
            return self.model_copy(update={"adapter": self.shadow_adapter})
        if not self.shadow_base_url:
            return None
        server = {"base_url": self.shadow_base_url, "model": self.shadow_model or self.model}
        apart = {"kind": "openai", "api_key": self.shadow_api_key, "revision": self.shadow_revision, "adapter": None}
        return EngineSettings.model_validate({**self.model_dump(), **server, **apart})
