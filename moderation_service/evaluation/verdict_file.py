"""RecordedVerdict verdicts from a file, as `moderation verdicts` and `moderation judge` write them."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from moderation_service.contracts.base import validate_json
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.readers.rows import BadPost, json_lines

PostKey = tuple[str, int]
"""A post's id and revision."""


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """A verdict and the line on which it stands."""

    line: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class VerdictFile:
    """What a file holds: verdicts by post, nulls (posts that were deleted), and a line for each row that is neither."""

    verdicts: dict[PostKey, list[RecordedVerdict]]
    deleted: int
    left_out: tuple[str, ...]


def read_record(path: Path) -> VerdictFile:
    """Read a file of verdicts, one JSON line each. Raises Misconfigured where it is missing or holds none at all."""
    verdicts: dict[PostKey, list[RecordedVerdict]] = {}
    deleted, left_out = 0, list[str]()
    for where, line in json_lines(path):
        if isinstance(line, BadPost):
            left_out.append(f"{where}: {line.why}")
        elif line == b"null":
            deleted += 1
        else:
            try:
                verdict = validate_json(Verdict, line)
            except ValidationError as error:
                fault = error.errors()[0]
                field = ".".join(map(str, fault["loc"])) or "verdict"
                left_out.append(f"{where}: {field}: {fault['msg']}")
            else:
                key = verdict.post_id, verdict.post_revision
                number = int(where.rpartition(":")[2])
                verdicts.setdefault(key, []).append(RecordedVerdict(number, verdict))
    if not verdicts and not deleted:
        msg = f"{path}: holds no verdict" + (f" ({left_out[0]})" if left_out else "")
        raise Misconfigured(msg)
    return VerdictFile(verdicts, deleted, tuple(left_out))
