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
    model: str = str(DEMO_MODEL)
    revision: str | None = None
    digests: Path | None = None  # of the weights, by k8s/model/digests.sh: a start need not read them all again
    device: str = "auto"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    quantization: Literal["int8", "int8_dynamic", "fp8"] | None = None  # of the linear layers' weights
    layout: LayoutName = "post_first"
    prompt: Literal["auto", "brief", "full"] = "auto"  # auto: brief for the bundled model, full for every other
    labels: Annotated[tuple[str, ...], Field(min_length=1)] = ("yes/no", "Yes/No", "是/否")  # violates/does not
    answer_prefix: str = "auto"  # what the model says before a label word; auto: found at the start
    max_context_tokens: Annotated[int, Field(ge=256)] = 16384  # and no more than the model's own context
    max_batch_tokens: Annotated[int, Field(ge=256)] = 16384
    base_url: str | None = None  # with kind openai: of a server, http://HOST:PORT/v1
    api_key: SecretStr | None = None
    request_timeout_s: PositiveFloat = 60.0
    startup_timeout_s: Annotated[float, Field(ge=0)] = 1800.0  # run and console wait so long for a server to come up
    concurrent_requests: PositiveInt = 64  # to the server at once; each is one question about one post

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
        return self
