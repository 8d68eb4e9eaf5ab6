"""One policy file: read, validated, and held against its name, its images and itself."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from moderation_service.policies.document import Document, read_document
from moderation_service.policies.explain import explain
from moderation_service.policies.faults import Fault, Location, PackRefused, nearest
from moderation_service.policies.model import Policy


def read_policy(file: Path, *, images: bool = True) -> Policy:
    """Read one file; without `images`, those of its cases may be missing. Raises Refused with every fault it has."""
    document = read_document(file)
    try:
        policy = Policy.model_validate(document.values)
    except ValidationError as error:
        raise PackRefused(explain(fault, document) for fault in error.errors(include_url=False)) from None
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
        if case.expect != "allow" and not applies:
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
