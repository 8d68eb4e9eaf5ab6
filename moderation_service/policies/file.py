"""One policy file: read, validated, checked against its name and its images. Every fault says what would be right."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from moderation_service.contracts.enums import ClosedSet
from moderation_service.policies.document import Document, read_document
from moderation_service.policies.faults import Fault, Location, PackRefused, nearest, shown
from moderation_service.policies.model import Expectation, Policy


def read_policy(file: Path, *, images: bool = True) -> Policy:
    """Read one file; without `images`, those of its cases may be missing. Raises PackRefused with all faults."""
    document = read_document(file)
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        raise PackRefused(_fault(fault, document) for fault in error.errors(include_url=False)) from None
    faults = [*_named_after_its_file(policy, document), *_cases_can_run(policy, document, images=images)]
    if faults:
        raise PackRefused(faults)
    return policy


def _named_after_its_file(policy: Policy, document: Document) -> Iterator[Fault]:
    if policy.id == document.file.stem:
        return
    other = document.file.with_name(f"{policy.id}.yaml")
    if other.exists():
        yield document.fault(("id",), f"{policy.id} is the id of {other} too", f"should be {document.file.stem}")
    else:
        wrong = f"{policy.id} is not the file's name"
        yield document.fault(("id",), wrong, f"should be {document.file.stem}, or the file be named {other.name}")


def _cases_can_run(policy: Policy, document: Document, *, images: bool) -> Iterator[Fault]:
    names: dict[str, int] = {}
    for index, case in enumerate(policy.cases):
        at: Location = ("cases", index)
        first = names.setdefault(case.name, index)
        if first != index:
            line = document.line(("cases", first, "name"))
            yield document.fault((*at, "name"), f"{case.name!r} is here twice (first on line {line})", "should differ")
        applies = policy.applies_to(has_text=bool(case.text), has_images=bool(case.images), surface=case.surface)
        if case.expect != Expectation.ALLOW and not applies:
            wrong = f"{case.expect} cannot come out, the post is outside the policy's scope"
            yield document.fault((*at, "expect"), wrong, "should be allow, or the scope wider")
        for number, image in enumerate(case.images if images else ()):
            yield from _image_is_there(image, document, (*at, "images", number))


def _image_is_there(image: str, document: Document, at: Location) -> Iterator[Fault]:
    folder = document.file.parent
    path = folder / image
    inside = not PurePosixPath(image).is_absolute() and path.resolve().is_relative_to(folder.resolve())
    if not inside or ".." in PurePosixPath(image).parts:
        yield document.fault(at, f"{image} is outside the policy's folder", "should be a path from there, without ..")
    elif not path.is_file():
        there = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
        close = nearest(path.name, there)
        right = f"did you mean {PurePosixPath(image).with_name(close)}?" if close else "should be a path from there"
        yield document.fault(at, f"no such image in {folder}", right)


def _fault(error: ErrorDetails, document: Document) -> Fault:
    """What pydantic found, in the words of an owner of policies."""
    location = tuple(part for part in error["loc"] if part != "[key]")
    if (
        location and isinstance(location[-1], int) and location not in document.lines
    ):  # one value, where a list may stand too
        location = location[:-1]
    wrong, right = _words(error, location)
    return document.fault(location, wrong, right)


def _words(error: ErrorDetails, location: Location) -> tuple[str, str]:
    """What is wrong with a field and what would be right; a language's tag is a field of its texts."""
    value, context = error["input"], error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return "is not a field of a policy", _known_field(location)
    right = f"should be {_field(location).description}"
    match error["type"]:
        case "missing":
            wrong = "is missing"
        case "literal_error" | "enum" if isinstance(value, bool):
            wrong, right = (
                f"{shown(value)} is not text",
                "should be in quotes: YAML takes yes, no, on and off for truth",
            )
        case "literal_error" | "enum":
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
    """The words of the Literal or the enum that a field's type wraps."""
    found = list[str](annotation) if isinstance(annotation, type) and issubclass(annotation, ClosedSet) else []
    for inner in get_args(annotation):
        found += [inner] if isinstance(inner, str) else _choices(inner)
    return found


def _field(location: Location) -> FieldInfo:
    """The field a location names, or the list field an item is in."""
    *parents, last = [part for part in location if isinstance(part, str)]
    fields = _model(tuple(parents)).model_fields
    return fields.get(last) or fields["root"]  # of texts by language


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
