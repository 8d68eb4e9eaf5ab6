"""The pack's own file, `pack.yaml` beside the policies: its default language, and why it leaves categories out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moderation_service.contracts.engine_input import Language
from moderation_service.policies.categories import CATEGORIES
from moderation_service.policies.document import Document, read_document
from moderation_service.policies.faults import Fault, PackRefused, nearest, shown

NAME = "pack.yaml"
_LANGUAGE, _NOT_COVERED = "default_language", "not_covered"


class PackFile(NamedTuple):
    """`default_language`: of posts in none of the pack's. `not_covered`: reasons by taxonomy and category."""

    default_language: Language
    not_covered: Mapping[tuple[str, str], str]


def pack_file(path: Path) -> Path:
    """The file of the pack in a folder, or of the one policy of a file; it may be missing."""
    return (path if path.is_dir() else path.parent) / NAME


def implied_default(languages: Sequence[Language]) -> Language | None:
    """Without the file: English, else the only language; None where it is to be said."""
    if not languages or "en" in languages:
        return "en"
    return languages[0] if len(languages) == 1 else None


def read_pack_file(file: Path, languages: Sequence[Language]) -> PackFile:
    """What the file says, or what is implied without it. Raises PackRefused."""
    right, implied = f"should be one of {', '.join(languages)}", implied_default(languages)
    if not file.is_file():
        if implied is None:
            raise PackRefused([Fault(file, None, _LANGUAGE, "is missing", right)])
        return PackFile(implied, {})
    document = read_document(file)
    faults = [
        document.fault((name,), "is not a field of a pack", f"known here are {_LANGUAGE} and {_NOT_COVERED}")
        for name in document.values
        if name not in {_LANGUAGE, _NOT_COVERED}
    ]
    default = document.values.get(_LANGUAGE, implied)
    if default is False:  # YAML takes no without quotes for false
        default = "no"
    if default not in languages:
        wrong = "is missing" if default is None else f"{shown(default)} is not a language of all policies"
        faults.append(document.fault((_LANGUAGE,), wrong, right))
    faults += _not_covered_faults(document)
    if faults:
        raise PackRefused(faults)
    left_out = document.values.get(_NOT_COVERED, {})
    reasons = {(taxonomy, category): why for taxonomy, each in left_out.items() for category, why in each.items()}
    return PackFile(str(default), reasons)


def _not_covered_faults(document: Document) -> Iterator[Fault]:
    left_out = document.values.get(_NOT_COVERED, {})
    groups = f"should be groups of category: reason under {', '.join(CATEGORIES)}"
    if not isinstance(left_out, dict):
        yield document.fault((_NOT_COVERED,), f"{shown(left_out)} cannot stand here", groups)
        return
    for taxonomy, reasons in left_out.items():
        known = CATEGORIES.get(taxonomy)
        if known is None or not isinstance(reasons, dict):
            yield document.fault((_NOT_COVERED, taxonomy), f"{shown(reasons)} cannot stand here", groups)
            continue
        for category, reason in reasons.items():
            at = (_NOT_COVERED, taxonomy, category)
            if category not in known:
                close = nearest(category, known)
                right = f"did you mean {close}?" if close else f"should be one of {', '.join(known)}"
                yield document.fault(at, "is not a category of the taxonomy", right)
            elif not isinstance(reason, str) or not reason.strip():
                yield document.fault(at, "has no reason", "should say in words why no policy covers it")
