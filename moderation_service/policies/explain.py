"""What pydantic found, said as an owner of policies would say it."""

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from moderation_service.policies.document import Document
from moderation_service.policies.faults import Fault, Location, nearest, shown
from moderation_service.policies.model import Policy


def explain(error: ErrorDetails, document: Document) -> Fault:
    """The fault behind one error of Policy's validation."""
    location = error["loc"]
    wrong, right = _words(error, location)
    return document.fault(location, wrong, right)


def _words(error: ErrorDetails, location: Location) -> tuple[str, str]:
    value, context = error["input"], error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return "is no field of a policy", _known_field(location)
    right = f"should be {_field(location).description}"
    match error["type"]:
        case "missing":
            wrong = "is missing"
        case "literal_error" if isinstance(value, bool):
            wrong, right = (
                f"{shown(value)} is not text",
                "should be in quotes: YAML takes yes, no, on and off for truth",
            )
        case "literal_error":
            wrong, right = f"{shown(value)} is unknown", _known_choice(str(value), location)
        case "string_type" if isinstance(value, bool | int | float):
            wrong, right = f"{shown(value)} is not text", "should be in quotes"
        case "string_too_short" | "too_short":
            wrong = "is empty"
        case "string_too_long":
            wrong, right = f"has {len(value)} characters", f"should have at most {context['max_length']}"
        case "value_error":
            wrong, _, right = str(context["error"]).partition("; ")
        case "greater_than" | "greater_than_equal" | "less_than_equal" | "finite_number":
            wrong = f"{shown(value)} is out of range"
        case _:  # of another type or form than the field's
            wrong = f"{_kind(value)} cannot stand here"
    return wrong, right


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a group of fields"
    if isinstance(value, tuple):
        return "a list"
    return "nothing" if value is None else shown(value)


def _known_field(location: Location) -> str:
    model = _model(location[:-1])
    close = nearest(str(location[-1]), model.model_fields)
    return f"did you mean {close}?" if close else f"known here are {', '.join(model.model_fields)}"


def _known_choice(value: str, location: Location) -> str:
    choices = _choices(_field(location).annotation)
    close = nearest(value, choices)
    return f"did you mean {close}?" if close else f"should be one of {', '.join(choices)}"


def _choices(annotation: Any) -> list[str]:  # noqa: ANN401 - a type expression
    """The words of the Literal that a field's type wraps."""
    found: list[str] = []
    for inner in get_args(annotation):
        found += [inner] if isinstance(inner, str) else _choices(inner)
    return found


def _field(location: Location) -> FieldInfo:
    """The field a location names, or the list field an item is in."""
    *parents, last = [part for part in location if isinstance(part, str)]
    return _model(tuple(parents)).model_fields[last]


def _model(location: Location) -> type[BaseModel]:
    """The model that a location of groups leads to."""
    model: type[BaseModel] = Policy
    for name in location:
        if isinstance(name, str):
            annotation = model.model_fields[name].annotation
            model = next(part for part in (annotation, *get_args(annotation)) if _is_model(part))
    return model


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
