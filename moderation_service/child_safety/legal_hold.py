"""Legal hold: an encrypted store of its own for posts that the law wants kept, a folder for each case.

`POST/VERDICT/PART.sealed`, where POST is a digest of the post's id and VERDICT is the case's id. A case appears whole
or not at all. What is added later (a report, a longer hold) is a file of its own: nothing sealed is written again.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from moderation_service.child_safety.sealed_file import HoldError, Keyring, sync_folder, write_durably
from moderation_service.contracts.base import Contract, Identifier, Moment
from moderation_service.contracts.enums import ImageStatus
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.settings import ChildSafetySettings

CASE, EXTENSION, SUFFIX = "case", "extension-", ".sealed"
_ID = re.compile(r"[0-9a-f]{32}")
_UNFINISHED, _PURGED = ".new-", ".purged-"
_STALE = timedelta(days=1)  # of what a killed process left


class HeldPart(Contract):
    """One held file, as it came: its name, its bytes' SHA-256 and size; `image` counts the post's images from 0."""

    name: str
    sha256: str
    size: int
    image: int | None = None
    media_type: str | None = None


class HoldExtension(Contract):
    """What was added to a case: its last day at least, and the report it was made for."""

    hold_until: date
    reported_at: Moment | None = None
    report_id: str | None = None


class HeldCase(Contract):
    """One case, without the post's words and images. `hold_until` is the last day on which it is held."""

    schema_version: Literal["1"] = "1"
    case_id: Identifier
    post_id: Identifier
    revision: int
    seized_at: Moment
    hold_until: date
    reported_at: Moment | None = None
    report_id: str | None = None
    parts: tuple[HeldPart, ...]
    missing_images: tuple[tuple[int, ImageStatus], ...] = ()
    """Images whose bytes were never had, counted from 0, and why."""


class LegalHold:
    """The store of `child_safety.hold_path`; blocks. Many processes may share it.

    What people do with it goes through HoldAccess, which audits.
    """

    def __init__(self, settings: ChildSafetySettings) -> None:
        """Raises Misconfigured for a folder that isn't there or can't be written, and for a wrong key."""
        if settings.hold_path is None or settings.hold_key is None:
            msg = "child_safety.hold_path: is not set; name the folder of the legal hold"
            raise Misconfigured(msg)
        self._root = settings.hold_path
        self._days = timedelta(days=settings.hold_days)
        self._keys = Keyring.read(settings.hold_key.get_secret_value())
        if not self._root.is_dir() or not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            msg = f"child_safety.hold_path: {self._root} is not a folder that this process may write; mount one"
            raise Misconfigured(msg)

    def put(
        self,
        verdict: Verdict,
        *,
        record: bytes,
        origin: Mapping[str, object],
        images: Sequence[bytes | None],
        now: datetime | None = None,
    ) -> HeldCase:
        """Hold a post: its record as it came, where it came from, its images' bytes, and its verdict.

        Idempotent by verdict id. The case is on the disk when this returns. Raises OSError, and HoldError where the
        case is there and can't be opened.
        """
        folder = self._root / _post_folder(verdict.post_id) / _checked(verdict.verdict_id)
        if folder.is_dir():
            sync_folder(folder.parent)  # whoever wrote it may have died before
            return self._case(folder)
        seized_at = now or datetime.now(UTC)
        parts = {
            "post.json": record,
            "origin.json": json.dumps(origin, indent=2).encode(),
            "verdict.json": verdict.to_json(),
            **{f"image-{number}": data for number, data in enumerate(images) if data is not None},
        }
        case = HeldCase(
            case_id=verdict.verdict_id,
            post_id=verdict.post_id,
            revision=verdict.post_revision,
            seized_at=seized_at,
            hold_until=(seized_at + self._days).date(),
            parts=tuple(_part(name, data, verdict) for name, data in parts.items()),
            missing_images=tuple(
                (number, image.status)
                for number, image in enumerate(verdict.content.images)
                if f"image-{number}" not in parts
            ),
        )
        self._write(folder, {**parts, CASE: case.model_dump_json().encode()})
        return case

    def cases(self) -> Iterator[HeldCase | HoldError]:
        """All cases, without opening the posts; in place of one that can't be opened, why."""
        for folder in self._folders():
            try:
                yield self._case(folder)
            except HoldError as error:
                yield error

    def case(self, case_id: str) -> HeldCase:
        """One case. Raises HoldError where it isn't held."""
        return self._case(self._find(case_id))

    def is_held(self, post_id: str) -> bool:
        """Whether any case of this post is held; opens none."""
        folder = self._root / _post_folder(post_id)
        return folder.is_dir() and any(_ID.fullmatch(case.name) for case in folder.iterdir())

    def read(self, case_id: str) -> dict[str, bytes]:
        """All parts of a case as they came. Raises HoldError where one is missing or not as it was."""
        folder = self._find(case_id)
        held = self._case(folder).parts
        parts = {part.name: self._open(folder / (part.name + SUFFIX)) for part in held}
        for part in held:
            if sha256(parts[part.name]).hexdigest() != part.sha256:
                msg = f"{folder.name}/{part.name}: isn't the file that was sealed; restore it from a backup"
                raise HoldError(msg)
        return parts

    def extend(
        self,
        case_id: str,
        *,
        until: date | None = None,
        reported_at: datetime | None = None,
        report_id: str | None = None,
    ) -> HeldCase:
        """Hold a case until a later day, or for `hold_days` from the day of a report; never shorter than before."""
        folder = self._find(case_id)
        days = [day for day in (until, reported_at and (reported_at + self._days).date()) if day]
        extension = HoldExtension(
            hold_until=max([self._case(folder).hold_until, *days]), reported_at=reported_at, report_id=report_id
        )
        name = f"{EXTENSION}{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        content = self._keys.seal(extension.model_dump_json().encode(), _place(folder, name))
        unfinished = folder / f"{_UNFINISHED}{name}"
        write_durably(unfinished, content)
        unfinished.rename(folder / (name + SUFFIX))
        sync_folder(folder)
        return self._case(folder)

    def past_cases(self, today: date) -> list[str]:
        """The cases whose last day is past. One that can't be opened is none of them."""
        return [case.case_id for case in self.cases() if isinstance(case, HeldCase) and case.hold_until < today]

    def purge(self, case_id: str, today: date) -> None:
        """Delete a case. Raises HoldError where its last day is not past, or can't be told."""
        folder = self._find(case_id)
        if (until := self._case(folder).hold_until) >= today:
            msg = f"case {case_id}: is held until {until} and can't be purged before"
            raise HoldError(msg)
        self._remove(folder.rename(folder.parent / f"{_PURGED}{folder.name}"))  # no half of a case is ever seen

    def sweep(self) -> None:
        """Finish purges of killed processes, and remove what others left unfinished a day ago."""
        for purged in self._root.glob(f"*/{_PURGED}*"):
            self._remove(purged)
        before = (datetime.now(UTC) - _STALE).timestamp()
        for left in self._root.glob(f"*/{_UNFINISHED}*"):
            if left.stat().st_mtime < before:
                shutil.rmtree(left, ignore_errors=True)

    def _write(self, folder: Path, parts: Mapping[str, bytes]) -> None:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        unfinished = folder.parent / f"{_UNFINISHED}{folder.name}-{secrets.token_hex(8)}"
        unfinished.mkdir(mode=0o700)
        try:
            for name, content in parts.items():
                write_durably(unfinished / (name + SUFFIX), self._keys.seal(content, _place(folder, name)))
            sync_folder(unfinished)
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another worker was faster
                    raise
            sync_folder(folder.parent)
            sync_folder(self._root)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _remove(self, purged: Path) -> None:
        with suppress(FileNotFoundError):  # another process finishes it too
            shutil.rmtree(purged)
        with suppress(OSError):  # another case of the post is there
            purged.parent.rmdir()

    def _folders(self) -> Iterator[Path]:
        """The folders of all cases, in a stable order."""
        for post in sorted(self._root.iterdir()):
            if _ID.fullmatch(post.name):  # a volume may hold `lost+found`
                yield from sorted(case for case in post.iterdir() if _ID.fullmatch(case.name))

    def _find(self, case_id: str) -> Path:
        found = next(iter(self._root.glob(f"*/{_checked(case_id)}")), None)
        if found is None:
            msg = f"case {case_id}: is not held; `moderation holds list` names the cases"
            raise HoldError(msg)
        return found

    def _case(self, folder: Path) -> HeldCase:
        try:
            case = HeldCase.model_validate_json(self._open(folder / (CASE + SUFFIX)))
            for path in sorted(folder.glob(f"{EXTENSION}*{SUFFIX}")):
                added = HoldExtension.model_validate_json(self._open(path)).model_dump(exclude_none=True)
                case = case.model_copy(update={**added, "hold_until": max(case.hold_until, added["hold_until"])})
        except ValidationError as error:
            msg = f"case {folder.name}: was written by another version of the service ({error.error_count()} fields)"
            raise HoldError(msg) from None
        return case

    def _open(self, path: Path) -> bytes:
        place = _place(path.parent, path.name.removesuffix(SUFFIX))
        try:
            return self._keys.open(path.read_bytes(), place)
        except OSError as error:
            msg = f"{place}: can't be read ({error.strerror})"
            raise HoldError(msg) from error


def _part(name: str, data: bytes, verdict: Verdict) -> HeldPart:
    image = int(name.removeprefix("image-")) if name.startswith("image-") else None
    return HeldPart(
        name=name,
        sha256=sha256(data).hexdigest(),
        size=len(data),
        image=image,
        media_type="application/json" if image is None else verdict.content.images[image].media_type,
    )


def _place(folder: Path, name: str) -> str:
    return f"{folder.parent.name}/{folder.name}/{name}"


def _post_folder(post_id: str) -> str:
    return sha256(post_id.encode()).hexdigest()[:32]


def _checked(case_id: str) -> str:
    """A case's id, which becomes a path. Raises HoldError."""
    if not _ID.fullmatch(case_id):
        msg = f"case {case_id!r}: is not an id of a case; should be the verdict's, 32 hexadecimal digits"
        raise HoldError(msg)
    return case_id
