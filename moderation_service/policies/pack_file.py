"""The pack's own file, `pack.yaml` beside the policies: the language of posts that are in none of the pack's."""

from collections.abc import Sequence
from pathlib import Path

from moderation_service.contracts.engine_input import Language
from moderation_service.policies.document import read_document
from moderation_service.policies.faults import Fault, PackRefused, shown

NAME = "pack.yaml"
_FIELD = "default_language"


def pack_file(path: Path) -> Path:
    """The file of the pack in a folder, or of the one policy of a file; it may be missing."""
    return (path if path.is_dir() else path.parent) / NAME


def implied_default(languages: Sequence[Language]) -> Language | None:
    """Without the file: English, else the only language; None where it is to be said."""
    if not languages or "en" in languages:
        return "en"
    return languages[0] if len(languages) == 1 else None


def read_default_language(file: Path, languages: Sequence[Language]) -> Language:
    """The pack's default, one of its languages. Raises PackRefused."""
    right, implied = f"should be one of {', '.join(languages)}", implied_default(languages)
    if not file.is_file():
        if implied is None:
            raise PackRefused([Fault(file, None, _FIELD, "is missing", right)])
        return implied
    document = read_document(file)
    if unknown := [name for name in document.values if name != _FIELD]:
        raise PackRefused(
            document.fault((name,), "is not a field of a pack", f"known here is {_FIELD}") for name in unknown
        )
    default = document.values.get(_FIELD, implied)
    if default not in languages:
        wrong = "is missing" if default is None else f"{shown(default)} is not a language of all policies"
        raise PackRefused([document.fault((_FIELD,), wrong, right)])
    return str(default)
