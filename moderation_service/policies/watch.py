"""A policy folder watched by looking: file events come from no NFS, and rarely from a Kubernetes volume's symlinks."""

import asyncio
import hashlib
from pathlib import Path

from moderation_service.errors import Misconfigured
from moderation_service.policies.faults import Fault
from moderation_service.policies.pack import PolicyPack, load_pack, policy_files
from moderation_service.policies.pack_file import pack_file


async def next_change(
    path: Path, known: str | None, every_s: float, setting: str
) -> tuple[str, PolicyPack | Misconfigured]:
    """Wait until the files differ from `known`; their fingerprint, and their pack or why they are none.

    They are read between two looks that are alike and `every_s` seconds apart: never half of a change, nor a folder
    that is still copied. `known` None: the next look.
    """
    while True:
        await asyncio.sleep(every_s)
        seen = await asyncio.to_thread(_fingerprint, path, setting)
        if seen == known:
            continue
        found = await asyncio.to_thread(_load, path, setting)
        await asyncio.sleep(every_s)
        if await asyncio.to_thread(_fingerprint, path, setting) == seen:
            return seen, found


def _load(path: Path, setting: str) -> PolicyPack | Misconfigured:
    try:
        return load_pack(path, images=False, setting=setting)
    except Misconfigured as error:
        return error
    except OSError as error:
        return Misconfigured(f"{setting}: {error}")


def _fingerprint(path: Path, setting: str) -> str:
    """The policy files' names with digests of what they hold, or what is in the way of reading them."""
    faults = list[Fault]()
    try:
        files = [*policy_files(path, faults, setting), pack_file(path)]
        contents = [[file.name, _digest_of_file(file)] for file in files]
    except OSError as error:
        return str(error)
    return repr((contents, faults))


def _digest_of_file(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return str(error)
