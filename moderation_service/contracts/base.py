"""What every contract shares: frozen, strict, and read from JSON with a clear refusal."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

MAX_ID = 512

Identifier = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Moment = AwareDatetime
Metadata = dict[str, JsonValue]


class Contract(BaseModel):
    """Frozen and strict; fields of a later minor version are ignored, never an error."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", ser_json_inf_nan="null", validate_by_name=True, validate_by_alias=True
    )
